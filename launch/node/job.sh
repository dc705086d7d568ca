# What the batch script of a run does around its tasks; sourced by it. Needs RUN_DIR, MAX_RETRIES, RESTARTS_IN_PLACE,
# GOLANG_SUBMISSION, GOLANG_LEAD, and the names of its OPTIONS of sbatch.
#
# `run_tasks COMMAND…` runs the tasks. When they have left, however they did, it asks Slurm what to do next, as the tasks
# do themselves (launch/node/requeue.py): this is for tasks that were killed, hung or had no scontrol. They start again
# on the same nodes where these are well, or the job goes back into the queue. A script that fails before its tasks
# does the latter, from its EXIT trap.

# What srun would take for its own options, and isn't this job's: a site's, a user's, or that of another job from within
# which this one was submitted. cluster.setup and cluster.env come later, and may set them.
unset "${!SRUN_@}" "${!SLURM_HET_@}" "${!SLURM_CPU_BIND@}" SLURM_{ACCOUNT,BCAST,COMPRESS,CLUSTERS,DEBUG,DEPENDENCY} \
  SLURM_{EPILOG,EXACT,EXPORT_ENV,HOSTFILE,IMMEDIATE,KILL_BAD_EXIT,LABELIO,MULTI_PROG,NO_KILL,OPEN_MODE,OVERLAP} \
  SLURM_{PARTITION,PROLOG,QOS,REMOTE_CWD,RESERVATION,SIGNAL,STDERRMODE,STDINMODE,STDOUTMODE,STEP_GRES,TASK_EPILOG} \
  SLURM_{TASK_PROLOG,TEST_EXEC,THREADS,TIMELIMIT,WAIT,WORKING_DIR}
for _option in acctg-freq constraint core-spec cpu-freq cpus-per-gpu cpus-per-task distribution exclusive gpu-bind gpu-freq \
  gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint mem mem-bind mem-per-cpu mem-per-gpu network \
  ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres overcommit profile spread-job \
  thread-spec threads-per-core tres-per-task use-min-nodes; do
  [[ " ${OPTIONS:-} " = *" $_option "* ]] && continue
  case $_option in cpu-freq) _option=cpu-freq-req ;; mem) _option=mem-per-node ;; esac
  _option=${_option^^}
  unset "SLURM_${_option//-/_}"
done
[[ " ${OPTIONS:-} " =~ " "(tres-bind|gpus-per-task|tres-per-task|ntasks-per-gpu)" " ]] || unset SLURM_TRES_BIND # all imply one
[[ " ${OPTIONS:-} " = *" array "* ]] || unset "${!SLURM_ARRAY_@}"
unset GOLANG_IN_PLACE

GOLANG_JOB=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
export GOLANG_JOB=${GOLANG_JOB:-$SLURM_JOB_ID} GOLANG_SUBMISSION
_restarts=${SLURM_RESTART_COUNT:-0}
_again=0 # times the tasks have started again in this life of the job
_before= # the attempt that was the newest when they started, and when that was
_begun=0
_status=1

. "${BASH_SOURCE[0]%/*}/again.sh" || return

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

_scontrol() { # SECONDS ARGUMENT…: deaf to the TERM that a requeue brings to all processes of the job, and in Slurm's own words
  timeout -s KILL "$1" bash -c 'trap "" TERM; unset "${!SCONTROL_@}" SLURM_CLUSTERS SLURM_TIME_FORMAT; exec scontrol "$@"' scontrol "${@:2}"
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

_own_restarts() { # Slurm leaves the count unset in a job's first life, where a surrounding job's would be taken for it
  [ "$_restarts" -gt 0 ] || return 0
  _record=$(_scontrol 10 --oneliner show job "$GOLANG_JOB" 2>/dev/null | grep -m 1 JobState=)
  local known
  known=$(_field Restarts)
  [ "${known:-$_restarts}" -ge "$_restarts" ] || export SLURM_RESTART_COUNT="$known" _restarts="$known"
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

_words() { printf %s "$RUN_DIR/logs/$SLURM_JOB_ID.$_restarts$([ "$_again" = 0 ] || echo ".$_again").srun"; }

_heard() { cat "$(_words)" 2>/dev/null; } # what srun said of its tasks

_culprit() { # the node of the task that ended first and badly, as srun tells; or nothing: ranks that did not meet blame none
  _heard | sed -nE 's/^srun: error: Node failure on (\S+).*/\1/p; /exit code 75$/d; /exit code 70$/d; s/^srun: error: ([^ :]+): tasks? .*/\1/p' | head -n 1
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

_attempt() { # the newest that began
  local start
  start=$(ls -1 "$RUN_DIR"/attempts/[0-9]*/start.json 2>/dev/null | sort -V | tail -n 1)
  printf %s "${start%/start.json}"
}

_cause() { # NAME [WORD]: for the attempt's cause.json, where its ranks said nothing, or that one was killed, or WORD
  local attempt cause
  attempt=$(_attempt) cause=$attempt/cause.json
  [ "$attempt" != "$_before" ] || return # these tasks began none
  if [ -e "$cause" ]; then
    sed -E "s/^(\{\"cause\": )\"(killed|${2:-killed})\"/\1\"$1\"/" "$cause"
  else
    printf '{"cause": "%s", "step": 0, "at": "%(%Y-%m-%dT%H:%M:%S%z)T", "message": "srun left with %s", "by": "batch script"}\n' \
      "$1" -1 "$_status"
  fi >"$attempt/.cause.tmp" && mv "$attempt/.cause.tmp" "$cause"
}

_name() { # DEFAULT [WORD]: the cause by Slurm's word
  if _preempted; then _cause preempted "terminated|session lost|time limit"; else _cause "$(_kind "$1")" "${2:-}"; fi
}

_name_requeued() { # by its ranks, who knew why; or by Slurm, which does that to what it preempts and to what was on a lost node
  local by_ranks='"event": "requeued".*"job": "'"$GOLANG_JOB"'", "restarts": '"$_restarts,"
  if grep -q "$by_ranks" "${RUN_DIR%/*}/ledger.jsonl"; then _name preempted; else _name preempted "terminated|session lost|time limit"; fi
}

_deaths() { # how often in a row this job's tasks died with nothing newly saved in between, this time included
  local newest notes=$RUN_DIR/attempts/deaths
  newest=$(cd "$RUN_DIR/checkpoints" 2>/dev/null && ls -1 2>/dev/null | grep '^step_.*\.pt$' | sort | tail -n 1)
  printf '%s %s %s %s\n' "$GOLANG_JOB" "${newest:-none}" "$_status" "$(_culprit)" >>"$notes"
  tac "$notes" | awk -v job="$GOLANG_JOB" -v newest="${newest:-none}" \
    '$1 != job || $2 != newest { exit } { count++ } END { print count + 0 }'
}

_bad() { # nodes where tasks died twice
  awk '$4 != "" && ++count[$4] == 2 { print $4 }' "$RUN_DIR/attempts/deaths" 2>/dev/null | paste -sd, -
}

_exclude() { # keeps the next attempt off bad nodes; Slurm takes this only now that the job waits
  local bad there
  bad=$(_bad)
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

_news() { # STATE: to whom notify.command tells of the run's end
  bash "${BASH_SOURCE[0]%/*}/notify.sh" "$RUN_DIR" "$1" "$GOLANG_JOB"
}

_end() { # EVENT REASON: the job stays out of the queue
  _ledger "$@"
  _news "$1"
  exit "$_status"
}

_heed() { # ends the script where Slurm has decided already
  _ask
  _decided=$(_verdict)
  case $_decided in
  already)
    _name_requeued
    exit 0
    ;;
  ended)
    _cause cancelled "terminated|session lost|time limit"
    [ "$_status" = 75 ] || _ledger cancelled "ended by Slurm or by scancel (srun left with $_status)"
    _news cancelled
    exit "$_status"
    ;;
  esac
}

_settle() { # [again]: what becomes of a run whose tasks have left; returns if they are to start again here, else exits
  local deaths died= why= final=$RUN_DIR/attempts/final.$SLURM_JOB_ID.$_restarts stopped=$RUN_DIR/attempts/stopped.$SLURM_JOB_ID.$_restarts
  _heard >&2
  ! _complete || { _news finished; exit 0; }
  _heed
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
  [ "$_decided" != silent ] || _end stopped "Slurm did not answer; type the same command again to continue"
  if [ -n "$died" ] && [ "${1:-}" = again ] && [ "$RESTARTS_IN_PLACE" != 0 ]; then
    why=$(_not_here)
    _heed # it may have taken a while
    ! _preempted || why="Slurm wants them"
    if [ -z "$why" ]; then
      _ledger restarted "srun left with $_status, $(_kind killed); again on the same nodes, $((_again + 1)) of $RESTARTS_IN_PLACE"
      return
    fi
  fi
  _ledger requeued "srun left with $_status${died:+, $(_kind killed)}${why:+; not on the same nodes: $why}"
  if _patiently requeue "$GOLANG_JOB" >&2; then
    [ -z "$died" ] || _exclude
  else
    _ledger stopped "scontrol requeue was refused; type the same command again to continue"
    _news stopped
  fi
  exit "$_status"
}

_leave() {
  trap - EXIT
  trap '' TERM
  _settle
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

_run() { # COMMAND…: the tasks, until they have left
  local srun heard
  heard=$(_words) _before=$(_attempt) _begun=$(_now)
  : 2>/dev/null >>"$heard" || heard=/dev/stderr # a full disk
  "$@" 2>>"$heard" &
  srun=$!
  trap 'kill -USR1 "$srun" 2>/dev/null' USR1 # with --signal=B:…, or scancel --batch, this script alone hears it; srun hands it on
  trap 'kill -USR2 "$srun" 2>/dev/null' USR2
  while kill -0 "$srun" 2>/dev/null; do wait "$srun"; done # a signal ends a wait
  wait "$srun" # they may have left while its trap was busy: the wait before gave the signal's status, not theirs
  _status=$?
  trap : USR1 USR2
}

run_tasks() {
  while :; do
    _run "$@"
    trap - EXIT
    trap '' TERM
    _settle again
    export GOLANG_IN_PLACE=$((++_again)) # for the ledger
    trap _warned TERM
    trap _leave EXIT
  done
}

_before=$(_attempt)
trap : HUP USR1 USR2 # wait for the tasks, which save; a trap with a command is not inherited by them
trap _warned TERM
trap _leave EXIT
_own_restarts
