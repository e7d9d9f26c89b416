"""`ipfs-accelerate chat`: one question, or a conversation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .terminal import without_controls
from .usage import UsageError, add_json, check_backend, check_text, check_url, read_stdin

if TYPE_CHECKING:
    import argparse

    from ..core import Accelerator
    from .terminal import Terminal

__all__ = ["add_arguments", "run"]

Message = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="the question; - reads it from standard input; without one, a conversation",
    )
    parser.add_argument("--model", metavar="M", help="model, also as back end/model")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--backend", metavar="B", help="back end to ask (the first that is ready)")
    where.add_argument("--url", metavar="URL", help="an OpenAI-compatible server of yours")
    parser.add_argument("--system", metavar="S", help="what the model should know or be like")
    for name, value, about in (
        ("--stream", True, "print the answer as it is written (what happens anyway)"),
        ("--no-stream", False, "print the whole answer at its end"),
    ):
        parser.add_argument(
            name, dest="stream", action="store_const", const=value, default=None, help=about
        )
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Answer the question, or keep a conversation going."""
    backend, url = check_backend(arguments.backend), check_url(arguments.url)
    if arguments.json and arguments.stream:
        raise UsageError("--stream: --json prints the whole answer as one object; give one of them")
    prompt = _prompt(arguments, terminal)
    from ..core import Accelerator
    from .asking import chat_target

    with Accelerator() as accelerator:
        model, endpoint_type = chat_target(accelerator, arguments.model, backend, url)
        conversation = Conversation(accelerator, model, endpoint_type, terminal)
        if arguments.system is not None:
            conversation.messages.append({"role": "system", "content": arguments.system})
        if prompt is None:
            return conversation.talk(stream=arguments.stream is not False)
        if arguments.json:
            terminal.json(conversation.whole(prompt))
        else:
            conversation.ask(prompt, stream=arguments.stream is not False)
    return 0


def _prompt(arguments: argparse.Namespace, terminal: Terminal) -> str | None:
    """Return the question; None where there is a person to have a conversation with."""
    if arguments.prompt == "-":
        return check_text(read_stdin(), "PROMPT")
    if arguments.prompt is not None:
        return check_text(arguments.prompt, "PROMPT")
    if sys.stdin.isatty() and terminal.out_is_tty and not arguments.json:
        return None
    raise UsageError("PROMPT: give a question, or - to read it from standard input")


class Conversation:
    """What was said so far, and whom it is said to."""

    def __init__(
        self, accelerator: Accelerator, model: str, endpoint_type: str | None, terminal: Terminal
    ) -> None:
        self.messages: list[Message] = []
        self._accelerator = accelerator
        self._model = model
        self._endpoint_type = endpoint_type
        self._terminal = terminal

    def _process(self, **options: Any) -> Any:
        return self._accelerator.process(
            self._model, self.messages, self._endpoint_type, task="chat", **options
        )

    def whole(self, prompt: str) -> dict[str, Any]:
        """Ask, and return the answer as data, without the provider's own JSON."""
        self.messages.append({"role": "user", "content": prompt})
        answer: dict[str, Any] = self._process().to_dict()
        del answer["raw"], answer["text"]
        return answer

    def ask(self, prompt: str, *, stream: bool) -> None:
        """Ask, print the answer, and remember both."""
        self.messages.append({"role": "user", "content": prompt})
        try:
            answer = self._streamed() if stream else self._process()
        except BaseException:
            self.messages.pop()
            raise
        if not stream:
            self._terminal.line(self._shown(answer.content))
        self.messages.append({"role": "assistant", "content": answer.content})
        if self._terminal.err_is_tty:
            self._terminal.note(_who(answer))

    def _streamed(self) -> Any:
        last = ""
        with self._process(stream=True) as stream:
            try:
                for chunk in stream:
                    if chunk.delta:
                        last = chunk.delta
                        self._terminal.write(self._shown(chunk.delta))
            finally:
                if last and not last.endswith("\n"):
                    self._terminal.write("\n")
            return stream.response()

    def _shown(self, text: str) -> str:
        return without_controls(text) if self._terminal.out_is_tty else text

    def talk(self, *, stream: bool) -> int:
        """Ask what the person types until there is no more; Ctrl-C stops an answer, or all of it.

        Returns:
            The exit code.
        """
        from api_backends.errors import ApiError

        terminal = self._terminal
        where = self._endpoint_type or "whoever is up"
        terminal.note(f"{self._model} on {where}; Ctrl-D ends, Ctrl-C stops an answer")
        while True:
            try:
                prompt = input("> ")
            except EOFError:
                terminal.line()
                return 0
            if not prompt.strip():
                continue
            try:
                self.ask(prompt, stream=stream)
            except ApiError as error:
                terminal.note(f"ipfs-accelerate: {error}")
            except KeyboardInterrupt:
                terminal.note("(stopped)")


def _who(answer: Any) -> str:
    """Say who answered, at what cost."""
    usage = answer.usage
    tokens = f" · {usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else ""
    return (
        f"{answer.implementation_type} {answer.backend} · {answer.model}{tokens} · "
        f"{answer.latency:.1f} s"
    )
