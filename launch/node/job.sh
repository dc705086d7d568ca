# What the batch script of a run does around its tasks; sourced by it. Needs RUN_DIR, MAX_RETRIES, GOLANG_SUBMISSION.
#
# `run_tasks COMMAND…` runs the tasks. When they have left, however they did, the script's EXIT trap asks Slurm what
# to do next, as the tasks do themselves (launch/node/requeue.py): this is for tasks that were killed or had no scontrol.

GOLANG_JOB=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
export GOLANG_JOB=${GOLANG_JOB:-$SLURM_JOB_ID} GOLANG_SUBMISSION
_restarts=${SLURM_RESTART_COUNT:-0}
_status=1

_ledger() { # EVENT REASON: one line, in one write
  local folder=${RUN_DIR##*/} reason=${2//[\"\\]/} file=${RUN_DIR%/*}/ledger.jsonl broken=
  [ -z "$(tail -c 1 "$file" 2>/dev/null)" ] || broken='\n' # a line of a writer that was killed: it must not swallow ours
  printf "$broken"'{"time": "%(%Y-%m-%dT%H:%M:%S%z)T", "event": "%s", "run": "%s", "folder": "%s", "submission": "%s", "job": "%s", "restarts": %d, "reason": "%s", "by": "batch script"}\n' \
    -1 "$1" "${folder##*-}" "$folder" "$GOLANG_SUBMISSION" "$GOLANG_JOB" "$_restarts" "${reason//[[:cntrl:]]/ }" >>"$file"
  echo "job $GOLANG_JOB: $1: $2" >&2
}

_field() { # NAME: a field of the record that scontrol gave
  [[ " $_record " =~ \ $1=([^ ]*)\  ]] && printf %s "${BASH_REMATCH[1]}"
}

_scontrol() { # SECONDS ARGUMENT…: deaf to the TERM that a requeue brings to all processes of the job
  timeout -s KILL "$1" bash -c 'trap "" TERM; exec scontrol "$@"' scontrol "${@:2}"
}

_patiently() { # ARGUMENT…: what scontrol says to it, asked again while Slurm's controller is away
  local said status end=$((SECONDS + 300)) away='nable to contact|timed out|onnection|Zero Bytes|standby'
  while :; do
    said=$(_scontrol 30 "$@" 2>&1)
    status=$?
    [[ $status = 0 || $SECONDS -ge $end || ! ($status = 137 || $said =~ $away) ]] && break
    sleep 3
  done
  printf '%s\n' "$said"
  return "$status"
}

_ask() { # for the job's record
  _record=$(_patiently --oneliner show job "$GOLANG_JOB" | grep -m 1 JobState=)
}

_verdict() { # by the job's record: requeue, already, ended, or silent
  local state restarts
  state=$(_field JobState) restarts=$(_field Restarts)
  case $state in
  "") echo silent ;;
  PENDING | REQUEUED) echo already ;;
  *)
    if [ "${restarts:-0}" -gt "$_restarts" ]; then echo already
    elif [[ $state = RUNNING || $state = PREEMPTED || $state = TIMEOUT || $(_field Reason) = TimeLimit ]]; then echo requeue
    elif [ "$state" = COMPLETING ] && [ "$(_field EndTime)" = Unknown ]; then echo already
    else echo ended; fi ;;
  esac
}

_heard() { cat "$RUN_DIR/logs/$SLURM_JOB_ID.$_restarts.srun" 2>/dev/null; } # what srun said of its tasks

_culprit() { # the node of the task that ended first and badly, as srun tells; or nothing
  _heard | sed -nE 's/^srun: error: Node failure on (\S+).*/\1/p; /exit code 75$/d; s/^srun: error: ([^ :]+): tasks? .*/\1/p' | head -n 1
}

_preempted() { # by the job's record
  [[ $(_field JobState) = PREEMPTED || ! $(_field PreemptTime) =~ ^(|None|Unknown)$ ]]
}

_kind() { # DEFAULT: why the tasks left or died
  if _heard | grep -qiE 'oom.kill|out of memory'; then echo "out of memory"
  elif _heard | grep -q 'Node failure'; then echo "node lost"
  elif [ "$_status" = 77 ]; then echo hang
  else echo "$1"; fi
}

_cause() { # NAME [WORD]: for the attempt's cause.json, where its ranks said nothing, or that one was killed, or WORD
  local attempt cause
  attempt=$(ls -1d "$RUN_DIR"/attempts/[0-9]* 2>/dev/null | sort -V | tail -n 1) cause=$attempt/cause.json
  [ -e "$attempt/start.json" ] || return
  if [ -e "$cause" ]; then
    sed -E "s/^(\{\"cause\": )\"(killed|${2:-killed})\"/\1\"$1\"/" "$cause"
  else
    printf '{"cause": "%s", "step": 0, "at": "%(%Y-%m-%dT%H:%M:%S%z)T", "message": "srun left with %s", "by": "batch script"}\n' \
      "$1" -1 "$_status"
  fi >"$attempt/.cause.tmp" && mv "$attempt/.cause.tmp" "$cause"
}

_name() { # DEFAULT [WORD]: the cause by Slurm's word
  if _preempted; then _cause preempted "terminated|time limit"; else _cause "$(_kind "$1")" "${2:-}"; fi
}

_name_requeued() { # by its ranks, who knew why; or by Slurm, which does that to what it preempts and to what was on a lost node
  local by_ranks='"event": "requeued".*"job": "'"$GOLANG_JOB"'", "restarts": '"$_restarts,"
  if grep -q "$by_ranks" "${RUN_DIR%/*}/ledger.jsonl"; then _name preempted; else _name preempted "terminated|time limit"; fi
}

_deaths() { # how often in a row this job's tasks died with nothing newly saved in between, this time included
  local newest notes=$RUN_DIR/attempts/deaths
  newest=$(cd "$RUN_DIR/checkpoints" 2>/dev/null && ls -1 2>/dev/null | grep '^step_.*\.pt$' | sort | tail -n 1)
  printf '%s %s %s %s\n' "$GOLANG_JOB" "${newest:-none}" "$_status" "$(_culprit)" >>"$notes"
  tac "$notes" | awk -v job="$GOLANG_JOB" -v newest="${newest:-none}" \
    '$1 != job || $2 != newest { exit } { count++ } END { print count + 0 }'
}

_exclude() { # keeps the next attempt off nodes where tasks died twice; Slurm takes this only now that the job waits
  local bad there
  bad=$(awk '$4 != "" && ++count[$4] == 2 { print $4 }' "$RUN_DIR/attempts/deaths" 2>/dev/null | paste -sd, -)
  [ -n "$bad" ] || return
  _record=$(_scontrol 15 --oneliner show job "$GOLANG_JOB" 2>/dev/null | head -n 1)
  there=$(_field ExcNodeList)
  [ "$there" = "(null)" ] && there=
  if _scontrol 15 update "JobId=$GOLANG_JOB" "ExcNodeList=${there:+$there,}$bad"; then
    _ledger note "excluded $bad: tasks died there twice"
  fi
}

_complete() { # done, and not killed in the quick probe that follows
  [ -e "$RUN_DIR/DONE" ] || return 1 # in a trap, the default is the status from before it
  [ "$_status" = 0 ] || [ -e "$RUN_DIR/evaluation/linear.json" ] || ! grep -q '"probe": true' "$RUN_DIR/config.yaml"
}

_end() { # EVENT REASON: the job stays out of the queue
  _ledger "$@"
  exit "$_status"
}

_leave() {
  trap - EXIT
  trap '' TERM
  local verdict deaths died= final=$RUN_DIR/attempts/final.$SLURM_JOB_ID.$_restarts stopped=$RUN_DIR/attempts/stopped.$SLURM_JOB_ID.$_restarts
  _heard >&2
  _complete && exit 0
  _ask
  verdict=$(_verdict)
  [ "$verdict" != already ] || { _name_requeued; exit 0; }
  if [ "$verdict" = ended ]; then
    _cause cancelled "terminated|time limit"
    [ "$_status" = 75 ] || _ledger cancelled "ended by Slurm or by scancel (srun left with $_status)"
    exit "$_status"
  fi
  _name killed
  if [ ! -e "$final" ] && [ "$(_kind killed)" = "out of memory" ]; then
    echo "out of memory, by Slurm's word: give the host more (cluster.mem) or let it do with less (data.workers)" >"$final"
  fi
  [ ! -e "$final" ] || _end failed "$(head -c 500 "$final")"
  if [ "$_status" != 75 ] && [ ! -e "$stopped" ]; then
    died=yes
    deaths=$(_deaths)
    [ "$deaths" -le "$MAX_RETRIES" ] ||
      _end failed "its processes died $deaths times in a row with nothing newly saved in between (srun left with $_status); see $RUN_DIR/logs, then type the same command again"
  fi
  [ "$verdict" != silent ] || _end stopped "Slurm did not answer; type the same command again to continue"
  _ledger requeued "srun left with $_status${died:+, $(_kind killed)}"
  if _patiently requeue "$GOLANG_JOB" >&2; then
    [ -z "$died" ] || _exclude
  else
    _ledger stopped "scontrol requeue was refused; type the same command again to continue"
  fi
  exit "$_status"
}

_warned() { # Slurm ends the job. Out of time, this script is killed with its tasks: it asks before that
  trap '' TERM
  _record=$(_scontrol 5 --oneliner show job "$GOLANG_JOB" 2>/dev/null | head -n 1)
  if [ "$(_field Reason)" = TimeLimit ]; then
    _cause "time limit"
    _ledger requeued "out of time before the tasks had left"
    _scontrol 5 requeue "$GOLANG_JOB"
  else # the tasks may have no time to say so
    case $(_verdict) in
    already) _name_requeued ;;
    ended) _cause cancelled ;;
    requeue) ! _preempted || _name preempted ;;
    esac
    trap _warned TERM
  fi
}

run_tasks() {
  local srun heard=$RUN_DIR/logs/$SLURM_JOB_ID.$_restarts.srun
  : 2>/dev/null >>"$heard" || heard=/dev/stderr # a full disk
  "$@" 2>>"$heard" &
  srun=$!
  while kill -0 "$srun" 2>/dev/null; do wait "$srun"; done # a signal ends a wait
  wait "$srun" # they may have left while its trap was busy: the wait before gave the signal's status, not theirs
  _status=$?
  exit "$_status"
}

trap : USR1 USR2 # wait for the tasks, which save; a trap with a command is not inherited by them
trap _warned TERM
trap _leave EXIT
