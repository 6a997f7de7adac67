"""The command line: a file per verb. A verb parses, calls one function, prints, and chooses the exit code."""
