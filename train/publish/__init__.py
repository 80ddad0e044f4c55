"""From a finished run to a repository on the Hub."""
