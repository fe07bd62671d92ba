"""Behind scripts/llm-server: llama.cpp's own server in this process, until standard input ends."""

import json
import os
import pathlib
import sys

import xllamacpp

model = pathlib.Path(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = str(model)
params.model_alias = {model.stem}
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_parallel = 2
params.n_ctx = 2048
params.cache_prompt = False  # what a prompt is answered doesn't hang on those before it
said = os.dup(1)
os.dup2(2, 1)  # llama.cpp's own messages
server = xllamacpp.Server(params)
os.write(said, (json.dumps({"event": "listening", "url": server.listening_address, "model": model.stem}) + "\n").encode())
sys.stdin.read()
os._exit(0)
