"""Where a study is kept: a journal with a mirror, or a database."""
