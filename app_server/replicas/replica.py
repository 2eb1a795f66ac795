"""This process as one of many, for one tenant: joins what is followed, asked, answered and taken over to the hints.

`wiring` builds it where the storage has a cluster; a server alone has nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app_server.replicas.beyond import Beyond
from app_server.replicas.commands import Commands
from app_server.replicas.following import Following
from app_server.replicas.post import Post
from app_server.replicas.questions import Questions
from app_server.replicas.takeover import take_over

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.clock import Clock
    from app_server.extension_api.services import Pictures
    from app_server.rpc.hub import Hub
    from app_server.storage.base import Storage
    from app_server.storage.cluster import Cluster, Hint
    from app_server.threads.manager import ThreadManager


class Replica:
    """Everything between this replica and the others."""

    def __init__(
        self,
        cluster: Cluster,
        storage: Storage,
        hub: Hub[Any],
        threads: ThreadManager,
        pictures: Pictures,
        clock: Clock,
        tasks: TaskGroup,
    ) -> None:
        self._hub, self._threads, self._tasks = hub, threads, tasks
        self.post = Post(cluster)
        self.beyond = Beyond(cluster, clock, tasks, lambda thread_id: threads.find(thread_id) is not None)
        self.following = Following(cluster, storage.log, hub, pictures, self.post, self._broadcast, tasks)
        self.commands = Commands(cluster, threads, self.post, self.following, self.beyond, tasks)
        self.following.came = self.commands.came_here
        self.questions = Questions(cluster, hub, self.post, self.beyond, tasks)
        hub.beyond, threads.elsewhere = self.beyond, self.following
        hub.newly_followed = self._newly_followed
        cluster.listen(self.hear)
        tasks.start_soon(take_over, cluster, threads)
        tasks.start_soon(self.following.keep)

    def hear(self, hint: Hint) -> None:
        """One hint of another replica. Nothing here waits."""
        match hint.kind:
            case "records" | "passing":
                self.following.hear(hint)
            case "broadcast":
                told = replace(hint, thread_id=str(hint.data["params"].get("threadId", "")))
                if not self.following.hear(told):  # else it waits for what comes before it
                    self._broadcast(told)
            case "following":
                if self._threads.find(hint.thread_id) is not None:
                    self.beyond.follows(hint.thread_id, hint.key)
            case "letter" if hint.data.get("kind") == "question":
                self.questions.hear(hint.key, hint.thread_id)
            case "letter":
                self.commands.hear(hint.thread_id)
            case "answered":
                self.questions.settled(hint.key)
                if not (self.post.awaits(hint.key) and self.following.hear_reply(hint)):
                    self.post.answered(hint.key)
            case "lost":
                if (live := self._threads.find(hint.thread_id)) is not None:
                    live.lose()
            case "again":
                self.following.again()
                self.post.again()
                self.commands.hear_all()

    def _newly_followed(self, thread_id: str) -> None:
        if self._threads.find(thread_id) is None:
            self._tasks.start_soon(self.questions.look, thread_id)

    def _broadcast(self, hint: Hint) -> None:
        method, params = hint.data["method"], hint.data["params"]
        if method == "thread/status/changed":
            self.following.status(hint.thread_id, params["status"]["type"])
        self._hub.broadcast_here(method, params)
        if method == "thread/deleted":
            self.following.drop(hint.thread_id)
            self._hub.forget_thread(hint.thread_id)
