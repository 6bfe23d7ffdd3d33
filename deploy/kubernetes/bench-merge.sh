#!/bin/sh
# Waits for the pods of bench-job.yaml and adds their results up.
#
#   deploy/kubernetes/bench-merge.sh [FOLDER]
#
# Writes FOLDER/pod-INDEX.json for each pod, FOLDER/fleet.json and fleet.html for all
# together, and prints the whole. Needs kubectl, with its context and namespace
# set, and echopool. Ends with 1 when a pod's results are missing: the sum of the
# others would look like a slower server.
set -eu

job=echopool-bench
folder=${1:-bench-results}
mkdir -p "$folder"
rm -f "$folder"/pod-*.json

completions=$(kubectl get job "$job" -o 'jsonpath={.spec.completions}')
# A pod that failed ends the job, too; its log says why.
until kubectl get job "$job" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}' |
    grep -qE 'Complete|Failed'; do
    sleep 2
done

index=0
while [ "$index" -lt "$completions" ]; do
    pod=$(kubectl get pods -o name \
        -l "batch.kubernetes.io/job-name=$job,batch.kubernetes.io/job-completion-index=$index")
    if [ -z "$pod" ]; then
        echo "bench-merge: pod $index of job $job is gone, and its results with it" >&2
        exit 1
    fi
    kubectl logs "$pod" >"$folder/pod-$index.json"
    index=$((index + 1))
done

echopool report --merge -o "$folder/fleet.json" --html "$folder/fleet.html" "$folder"/pod-*.json
