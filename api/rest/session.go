package rest

// HeaderEnd is the trailer of a log: how it ended, "" when there is no more.
const HeaderEnd = "Oakestra-End"
