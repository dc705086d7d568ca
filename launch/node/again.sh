# Whether a job's tasks can start again in the allocation that it has; sourced by job.sh. A requeue would give the nodes
# to whoever waits for them.

_now() { printf '%(%s)T' -1; }

_needed() { # seconds that a start and a save take: as measured last, or by a guess
  local attempt first
  attempt=$(_attempt)
  first=$(sed -nE 's/.*"start_seconds": ([0-9]+).*/\1/p' "$attempt/status.json" 2>/dev/null)
  [ -z "$first" ] || first=$((first + $(stat -c %Y "$attempt/start.json") - _begun))
  echo $((GOLANG_LEAD + ${first:-120}))
}

_left() { # seconds of the job's time
  local end
  end=$(date -d "$(_field EndTime)" +%s 2>/dev/null) || end=$(($(_now) + 86400)) # Unknown: it has no limit
  echo $((end - $(_now)))
}

_ill() { # nodes of the job that Slurm has lost, or wants to empty, with their states
  _scontrol 15 --oneliner show node "$SLURM_JOB_NODELIST" 2>/dev/null |
    sed -nE 's/.*NodeName=(\S+).* State=(\S+).*/\1 is \2/p' | grep -E 'DOWN|DRAIN|FAIL|NOT_RESPONDING|REBOOT|\*' | paste -sd, -
}

_answer() { # whether every node of the job starts a task; of the job's own environment srun would take options
  timeout -s KILL 30 env -i PATH="$PATH" ${SLURM_CONF:+SLURM_CONF="$SLURM_CONF"} SLURM_JOB_ID="$SLURM_JOB_ID" \
    srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    --output=/dev/null /bin/true
}

_not_here() { # why the tasks can't start again on the same nodes at once; nothing if they can
  local bad culprit ill left needed
  bad=$(_bad) culprit=$(_culprit)
  if [ "$_again" -ge "$RESTARTS_IN_PLACE" ]; then echo "done $_again times"
  elif [ "$_status" = 70 ]; then echo "they did not reach each other"
  elif [ "$_status" = 79 ]; then echo "one may have lost its storage"
  elif [ "$(_field JobState)" != RUNNING ] || _preempted; then echo "Slurm wants them"
  elif [ "$(_kind "")" = "node lost" ]; then echo "one was lost"
  elif [[ -n $culprit && ,$bad, = *,$culprit,* ]]; then echo "tasks died twice on $culprit"
  elif left=$(_left) needed=$(_needed) && [ "$left" -lt "$needed" ]; then echo "$left s are left, a start and a save take $needed s"
  elif ill=$(_ill) && [ -n "$ill" ]; then echo "$ill"
  elif ! _answer; then echo "one does not start tasks"; fi
}
