"""The verbs: plan, build, finalize, verify."""
