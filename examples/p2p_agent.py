#!/usr/bin/env python3
"""p2p-agent from Python: one file without dependencies, to be copied beside your own.

To offer a model, write a generator that takes a prompt and yields pieces of text, and hand it to worker():

    import p2p_agent

    model = load()                       # once, however long it takes

    def answer(prompt):
        for token in model(prompt):
            yield token

    p2p_agent.worker(answer)

and let an agent run it, as an executable file that starts with #!/usr/bin/env python3:

    p2p-agent serve --allow-any --worker --as my-model -- ./my_model.py

The generator runs in the main thread, one task after the other. When a task is cancelled the generator is closed at its next `yield`
(GeneratorExit is raised there); one that yields nothing for two seconds after that is ended with its process. What it raises fails the
task. It may return a dictionary with "model", "finish_reason" or "usage". Whatever it prints goes to the agent's log.

To ask for something:

    text = p2p_agent.run("Hello!", model="my-model")

Run as it stands, this file is a worker that shouts:

    p2p-agent serve --allow-any --worker --as shout -- ./p2p_agent.py
"""

import json
import os
import queue
import subprocess
import sys
import threading
import traceback


def worker(answer, whole_input=False):
    """Answers tasks with the generator function `answer` until standard input ends.

    `answer` gets the prompt (of a chat, the last message's text), or with `whole_input` the input as a dictionary.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything prints from now on is no line of ours
    tasks = queue.Queue()
    cancelled = [None]  # the task that was cancelled last, or "all"

    def read():
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "cancel" in message:
                cancelled[0] = message["cancel"]
            else:
                tasks.put(message)
        cancelled[0] = "all"
        tasks.put(None)

    def say(number, **what):
        out.write(json.dumps({"id": number, **what}) + "\n")
        out.flush()

    threading.Thread(target=read, daemon=True).start()
    while (task := tasks.get()) is not None:
        number = task["id"]
        try:
            pieces = answer(task["input"] if whole_input else prompt_of(task["input"]))
            while cancelled[0] not in (number, "all"):
                try:
                    piece = next(pieces)
                except StopIteration as stop:
                    say(number, done=True, **{"finish_reason": "stop", **(stop.value or {})})
                    break
                if piece:
                    say(number, text=piece.encode("utf-8", "replace").decode())  # no lone surrogates
            else:
                pieces.close()
                say(number, error="cancelled")
        except BrokenPipeError:
            return
        except Exception as error:
            traceback.print_exc()
            say(number, error=f"{type(error).__name__}: {error}")


def prompt_of(input):
    """The prompt of a task's input, or the text of its last message, its parts joined."""
    if "prompt" in input:
        return input["prompt"]
    content = input["messages"][-1].get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class TaskFailed(Exception):
    """A task without the result asked for. `code` says why: as the result does ("busy", "executor_failed", …), or the program when there
    is none ("no_peer", …). `text` is the output that there was; `exit_code` is the program's, see `p2p-agent --help`."""

    def __init__(self, code, message, text="", exit_code=None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.text = text
        self.exit_code = exit_code


def run(prompt, model=None, peer=None, timeout=None, wait=None, system=None, max_tokens=None, temperature=None, seed=None, on_text=None,
        program="p2p-agent"):
    """Has a task run by an agent on the network and returns the text, once it is verified. Raises TaskFailed.

    `peer`: a PeerId or address, or several; `timeout` and `wait` in seconds; `on_text` gets each piece as it comes.
    """
    command = [program, "run", "--json"]
    for name in [peer] if isinstance(peer, str) else peer or []:
        command += ["--peer", name]
    options = {"--model": model, "--timeout": timeout, "--wait": wait, "--system": system, "--max-tokens": max_tokens,
               "--temperature": temperature, "--seed": seed}
    for option, value in options.items():
        if value is not None:
            command.append(f"{option}={value}")
    if on_text is not None:
        command.append("--stream")
    result = {}
    failure = None
    with subprocess.Popen(command + ["-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            try:
                process.stdin.write(prompt.encode() + b"\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # it says why
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "update" and "text" in event and on_text is not None:
                    on_text(event["text"])
                elif event["event"] == "result":
                    result = event
                elif event["event"] == "error":
                    failure = event
        except BaseException:
            process.terminate()  # cancels the task
            raise
    text = result.get("text", "")
    if result.get("status") == "completed" and process.returncode == 0:
        return text
    error = result.get("error") or failure or {}
    code = error.get("code") or error.get("reason") or "error"
    raise TaskFailed(code, error.get("message", "p2p-agent ended without a result"), text, process.returncode)


if __name__ == "__main__":

    def shout(prompt):
        for number, word in enumerate(prompt.split()):
            yield (" " if number else "") + word.upper()

    worker(shout)
