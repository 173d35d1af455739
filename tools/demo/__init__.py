"""The demonstration: agents whose process is killed in the middle, resumed from the log.

Start it with `python -m langgraph_eventlog.tools.demo`. `documentation` is what the agents read, `agent` and `script`
who they are, `conversation` what they are asked, `worker` the process that is killed, `run` who kills it and looks
what is left, `report` what is printed.
"""
