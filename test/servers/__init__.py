"""The servers that tests start: stand-ins, a server that misbehaves on demand, and real ones."""
