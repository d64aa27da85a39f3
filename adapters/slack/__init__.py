"""The adapter for Slack, on slack_sdk: Socket Mode, or requests to the gateway's HTTP listener."""

from adapters.slack.adapter import SlackAdapter

__all__ = ["SlackAdapter"]
