"""A Milvus, reached through one client: Lite in a folder or a server by address, with patience."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from mindeye.errors import ConfigError, MindEyeError, MissingDependencyError
from mindeye.gallery.milvus_options import LITE_INDEXES, MilvusOptions

T = TypeVar("T")

LONGEST_WAIT = 30.0
"""Seconds between two attempts at most."""

REFUSED = ("auth check fail", "unauthenticated", "permission_denied", "permission deny")
"""What a Milvus or gRPC says to a wrong token; from their code, not tried on a server."""

LOGGERS = ("pymilvus", "milvus_lite", "faiss")


class MilvusError(MindEyeError):
    """A Milvus that does not answer or broke off; the same command goes on later."""


class Server:
    """One Milvus; a context manager that lets go of it at the end.

    Parameters
    ----------
    place
        Address, or path of Milvus Lite's files; see `place_of`.
    options
        Token and patience.

    Raises
    ------
    MissingDependencyError
        If pymilvus, or for a path milvus-lite, is not installed.
    """

    def __init__(self, place: str, options: MilvusOptions) -> None:
        self.place, self.options = place, options
        self.is_file = place.endswith(".db")
        self._client: Any = None
        _need(self.is_file)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, doing: str, action: Callable[[Any], T]) -> T:
        """Return `action(client)`, connecting first and trying again where that may help.

        Parameters
        ----------
        doing
            What is being done, for the message.
        action
            The call; made again after a failure, so twice must be as good as once.

        Raises
        ------
        ConfigError
            If the address is none, the token is refused, or another process has Milvus Lite's
            files.
        MilvusError
            If no attempt succeeds.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        wait, problem = self.options.wait, ""
        for attempt in range(self.options.attempts):
            if attempt:
                time.sleep(min(wait, LONGEST_WAIT))
                wait *= 2
            try:
                with _quiet():
                    return action(self._connected())
            # a client whose channel was closed under it raises ValueError
            except (MilvusException, grpc.RpcError, ValueError) as error:
                problem = _reason(error)
                self._refuse_hopeless(error, problem)
                self.close()
        raise MilvusError(
            f"the Milvus at {self.place} does not answer while {doing} ({self.options.attempts} "
            f"attempts of {self.options.timeout:g} s; {problem}); what it has committed stays, "
            "start it and run the same command again"
        )

    @cached_property
    def is_lite(self) -> bool:
        """Whether it is Milvus Lite, which can also stand behind an address."""
        return self.is_file or "lite" in self.call(
            "asking its version",
            lambda client: str(client.get_server_version(timeout=self.options.timeout)),
        )

    def refuse_unbuilt(self, kind: str) -> None:
        """Raise ConfigError for an index that this Milvus would take and not build."""
        if kind not in LITE_INDEXES and self.is_lite:
            raise ConfigError(
                f"Milvus Lite does not build {kind.lower()} and would search without an index; "
                f"what it builds: {', '.join(LITE_INDEXES).lower()}. A Milvus server builds "
                f"{kind.lower()} too: give its address"
            )

    def close(self) -> None:
        """Let go of it; of Milvus Lite too, which another process can have then."""
        client, self._client = self._client, None
        if client is None:
            return
        import grpc
        from pymilvus.exceptions import MilvusException

        # It may be gone, and is let go of in any case.
        with _quiet(), contextlib.suppress(MilvusException, grpc.RpcError, ValueError):
            client.close()
        if self.is_file:
            from milvus_lite.server_manager import server_manager_instance

            # It would go on in a thread of this process until that ends.
            with _quiet():
                server_manager_instance.release_server(self.place)

    def _connected(self) -> Any:
        """Return the client; a first call connects it."""
        if self._client is None:
            from pymilvus import MilvusClient

            if self.is_file:
                Path(self.place).parent.mkdir(parents=True, exist_ok=True)
            self._client = MilvusClient(
                uri=self.place, token=self.options.token, timeout=self.options.timeout
            )
        return self._client

    def _refuse_hopeless(self, error: Exception, problem: str) -> None:
        """Raise ConfigError at what no second attempt would mend."""
        from pymilvus.exceptions import ConnectionConfigException

        if isinstance(error, ConnectionConfigException):
            if not self.is_file:
                raise ConfigError(f"{self.place} is no address of a Milvus: {problem}") from error
            raise ConfigError(
                f"the Milvus Lite in {self.place} cannot be opened: another process has it, and "
                "it lets in one at a time, or its files are damaged; end that process, or use a "
                "Milvus server"
            ) from error
        if any(words in problem.lower() for words in REFUSED):
            raise ConfigError(
                f"the Milvus at {self.place} refuses the token ({problem}); put user:password "
                f"into the environment variable {self.options.token_env}"
            ) from error


def _need(lite: bool) -> None:
    try:
        import pymilvus  # noqa: F401

        if lite:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("milvus-lite" if lite else "pymilvus", "milvus") from error


def _reason(error: Exception) -> str:
    """Return an error's first words; gRPC's own fill pages."""
    text = str(getattr(error, "message", "") or error).strip() or repr(error)
    return " ".join(text.split())[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' tracebacks of failures off the screen; they come as our errors."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
