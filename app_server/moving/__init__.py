"""Threads from elsewhere, brought into the configured storage: another home's, and the reference's rollouts.

    home.py               every thread of a home, records and pictures as they are
    rollout_files.py      the reference's files: which there are, which follows from which, their lines
    rollout_thread.py     lines → the records of one of our threads; with rollout_history, _items, _events, _settings
    pictures_inside.py    pictures inside of JSON become stored pictures
    codex.py              every thread of a home of the reference
    target.py             one thread into a storage: resumable, nothing twice, verified

`commands/import_threads.py` calls `move_home` and `move_codex`. Nothing here prints, and no source is written to.
"""
