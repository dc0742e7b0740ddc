"""A repository of one's own: the same pipeline, beside a lifline that is installed."""
