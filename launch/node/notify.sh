# News of a run that has ended for good, and of a sweep of which every run has. `bash notify.sh RUN_DIR STATE LIFE [RUN_DIR
# STATE LIFE …]`: LIFE names what ended, a job or an attempt. What is run is the shell line of notify.command, which lies
# in the run's folder as notify.sh, with SWEEP, RUN, STATE, CAUSE and MAP in its environment.
#
# A mark, made before the line starts and never by two, keeps it from running twice for one end, whoever is killed when.

_mark() { # FILE: fails if it is there
  (set -C && : >"$1") 2>/dev/null && return
  [ -e "$1" ] || echo "no news: can't write $1"
  return 1
}

_tell() { # FOLDER NAME=VALUE…: runs the line there, in a process group of its own
  printf '%(%Y-%m-%d %H:%M:%S)T news: %s\n' -1 "${*:2}"
  (cd "$1" && exec timeout -s KILL 30 env "${@:2}" bash "$run/notify.sh")
  local status=$?
  case $status in
  0) ;;
  137) echo "notify.command was ended after 30 s" ;;
  *) echo "notify.command failed with $status" ;;
  esac
}

_number() { # FILE…: the first mAP in them, in points
  sed -nE 's/.*"mAP": *([0-9]+(\.[0-9]+)?).*/\1/p' "$@" 2>/dev/null | head -n 1 | LC_ALL=C awk '{ printf "%.1f", $1 }'
}

_events() { # of each run in the ledger: its id, its last event, and the job of it. What follows `cancelled` may be its save
  awk '
    function field(name,  at) {
      at = index($0, "\"" name "\": \"")
      rest = substr($0, at + length(name) + 5)
      return at ? substr(rest, 1, index(rest, "\"") - 1) : ""
    }
    { run = field("run"); event = field("event") }
    run == "" || event == "note" || (event == "stopped" && last[run] == "cancelled") { next }
    { last[run] = event; job[run] = field("job") }
    END { for (run in last) print run, last[run], job[run] }' "$1"
}

_ends() { # SWEEP: each run with what ended it; fails if one has not ended for good
  local config folder id event job state parent
  local -A events jobs
  while read -r id event job; do events[$id]=$event jobs[$id]=$job; done < <(_events "$1/ledger.jsonl")
  for config in "$1"/*/config.yaml; do
    folder=${config%/*} id=${config%/*} id=${id##*-}
    state=${events[$id]:-}
    case $state in
    finished | failed | cancelled) ;;
    requeued | stopped) return 1 ;;
    *)
      state=finished
      if [ ! -e "$folder/DONE" ]; then # an evaluation of a run that failed never starts
        parent=$(sed -nE 's/^ *"run": "([0-9a-f]{8})".*/\1/p' "$config") state=unstarted
        [[ ${events[${parent:-none}]:-} = failed || ${events[${parent:-none}]:-} = cancelled ]] || return 1
      fi
      ;;
    esac
    printf '%s %s %s\n' "$id" "${jobs[$id]:-}" "$state"
  done
}

_run_ended() { # STATE LIFE
  local attempt cause map
  _mark "$run/attempts/told.$1.${2//\//_}" || return
  attempt=$(printf '%s\n' "$run"/attempts/[0-9]* | sort -V | tail -n 1)
  cause=$(sed -nE '1s/^\{"cause": "([^"]*)".*/\1/p' "$attempt/cause.json" 2>/dev/null)
  [ "$1" != cancelled ] || cause=cancelled
  map=$(_number "$attempt/status.json" "$run"/evaluation/*/result.json "$run/evaluation/linear.json")
  _tell "$run" "SWEEP=$sweep" "RUN=${run##*/}" "STATE=$1" "CAUSE=$cause" "MAP=$map"
}

_sweep_ended() {
  local ends counts folder=${run%/*}
  [ -e "$folder/sweep.yaml" ] && ends=$(_ends "$folder") && [ -n "$ends" ] || return
  _mark "$folder/.told.$(cut -d ' ' -f 1,2 <<<"$ends" | LC_ALL=C sort | cksum | tr ' ' .)" || return
  counts=$(cut -d ' ' -f 3 <<<"$ends" | sort | uniq -c | awk '{ printf "%s%d %s", n++ ? ", " : "", $1, $2 }')
  _tell "$folder" "SWEEP=$sweep" RUN= STATE=complete "CAUSE=$counts" MAP=
}

umask 077
while [ $# -ge 3 ]; do
  if run=$(cd "$1" 2>/dev/null && pwd) && [ -O "$run/notify.sh" ]; then
    sweep=${run%/*} sweep=${sweep##*/} log=$run/logs/notify.log
    { mkdir -p "$run/logs" && : >>"$log"; } 2>/dev/null || log=/dev/stderr # a full disk
    _run_ended "$2" "$3" >>"$log" 2>&1 </dev/null
    [ "${4+${4%/*}}" = "${1%/*}" ] || _sweep_ended >>"$log" 2>&1 </dev/null # after the news of all its runs
  fi
  shift 3
done
exit 0
