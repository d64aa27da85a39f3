"""What an operator can set: typed models, where values come from, and the commented default file."""

from config.access import ANYONE, AccessConfig, LimitsConfig, RoleConfig, RuleConfig
from config.agents import AgentConfig, EchoAgentConfig, LocalAgentConfig, ModelAgentConfig, PluginAgentConfig
from config.errors import ConfigError, Problem
from config.home import Home
from config.live import LiveConfig
from config.load import Settings, load_config, load_settings
from config.models import (
    DeliveryConfig,
    GatewayConfig,
    HttpConfig,
    InboxConfig,
    LoggingConfig,
    MediaConfig,
    SessionResetPolicy,
    SessionsConfig,
    StorageConfig,
    TurnsConfig,
)
from config.platform import ADAPTER_GROUP, AGENT_GROUP, Platform
from config.platforms import (
    DiscordConfig,
    HomeChannel,
    LocalConfig,
    PlatformConfig,
    PluginPlatformConfig,
    SlackConfig,
    TelegramConfig,
)
from config.webhooks import FieldRef, WebhookConfig

__all__ = [
    "ADAPTER_GROUP",
    "AGENT_GROUP",
    "ANYONE",
    "AccessConfig",
    "AgentConfig",
    "ConfigError",
    "DeliveryConfig",
    "DiscordConfig",
    "EchoAgentConfig",
    "FieldRef",
    "GatewayConfig",
    "Home",
    "HomeChannel",
    "HttpConfig",
    "InboxConfig",
    "LimitsConfig",
    "LiveConfig",
    "LocalAgentConfig",
    "LocalConfig",
    "LoggingConfig",
    "MediaConfig",
    "ModelAgentConfig",
    "Platform",
    "PlatformConfig",
    "PluginAgentConfig",
    "PluginPlatformConfig",
    "Problem",
    "RoleConfig",
    "RuleConfig",
    "SessionResetPolicy",
    "SessionsConfig",
    "Settings",
    "SlackConfig",
    "StorageConfig",
    "TelegramConfig",
    "TurnsConfig",
    "WebhookConfig",
    "load_config",
    "load_settings",
]
