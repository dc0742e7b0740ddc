"""Networks of other libraries' become models of lifline's."""
