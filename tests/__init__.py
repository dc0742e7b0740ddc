import lifline  # noqa: F401 - its settings come before the libraries that read them
