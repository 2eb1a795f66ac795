"""The kinds of records in a thread's log, and what each holds. Replay (`threads/replay.py`) is the only reader.

| kind | data | written |
|---|---|---|
| thread_started | {settings, source, originator, ephemeral?, …}: the thread as it was made | first record |
| settings_changed | {settings}: the whole new settings | when an override sticks |
| name_set | {name} | thread/name/set |
| archived_set | {archived} | thread/archive, thread/unarchive |
| turn_started | {turnId, startedAtMs} | before turn/started |
| item_started | {turnId, item} | before item/started |
| item_completed | {turnId, item, picture?} | before item/completed; the item as shown, `picture` instead of bytes |
| history | {items: […]} | what the model will be sent: Responses items, pictures by reference |
| picture_removed | {turnId, itemId, reason}: a finished picture is gone: deleted or expired | before its file goes |
| paid_call | {turnId, itemId, key}: money may be spent for this item from now on | before the HTTP request |
| compacted | {history: […]}: the history goes on from here | when a compaction is done |
| meta_set | {meta}: members of the index row's meta, null removes one | goal, git info, read state |
| reverted | {beforeTurnId}: that turn and all later ones never were | thread/revert |
| handed_over | {turnId, outputSchema}: who loads the thread goes on, if this is the last record | a replica that ends |
| token_usage | {turnId, total, last, modelContextWindow} | after each response |
| lost | {}: stands in the place of a record that a salvage could not read; replay passes over it | `doctor --repair` |
| turn_completed | {turnId, status, error, startedAtMs, completedAtMs, reason?} | before turn/completed |
"""

from __future__ import annotations

from typing import Final

THREAD_STARTED: Final = "thread_started"
SETTINGS_CHANGED: Final = "settings_changed"
NAME_SET: Final = "name_set"
ARCHIVED_SET: Final = "archived_set"
TURN_STARTED: Final = "turn_started"
ITEM_STARTED: Final = "item_started"
ITEM_COMPLETED: Final = "item_completed"
HISTORY: Final = "history"
COMPACTED: Final = "compacted"
META_SET: Final = "meta_set"
REVERTED: Final = "reverted"
PAID_CALL: Final = "paid_call"
PICTURE_REMOVED: Final = "picture_removed"
HANDED_OVER: Final = "handed_over"
TOKEN_USAGE: Final = "token_usage"
TURN_COMPLETED: Final = "turn_completed"
LOST: Final = "lost"

KINDS: Final = frozenset(
    {
        THREAD_STARTED,
        SETTINGS_CHANGED,
        NAME_SET,
        ARCHIVED_SET,
        TURN_STARTED,
        ITEM_STARTED,
        ITEM_COMPLETED,
        HISTORY,
        COMPACTED,
        META_SET,
        REVERTED,
        PAID_CALL,
        PICTURE_REMOVED,
        HANDED_OVER,
        TOKEN_USAGE,
        TURN_COMPLETED,
        LOST,
    }
)
