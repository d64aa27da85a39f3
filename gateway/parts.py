"""The parts of a gateway that run, under one name: who builds them hands them to who runs them."""

from dataclasses import dataclass

from gateway.admissions import Admissions
from gateway.api.interface import HttpInterface
from gateway.connections import AdapterPool
from gateway.control import ControlServer
from gateway.erasure import Eraser
from gateway.lanes import Lanes
from gateway.lifecycle import ExpiryWatcher
from gateway.mcp.door import ToolDoor
from gateway.mirror import JsonlMirror
from gateway.naming import Namer
from gateway.outbox import Outbox
from gateway.reload import Reloader
from gateway.remembering.memory import Memory
from gateway.retention import Retention
from gateway.roster import AgentRoster
from gateway.search import SearchIndexer
from gateway.session.store import SessionStore
from gateway.storage.database import Database
from gateway.updates import Updates


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that runs, once it has been built."""

    database: Database
    store: SessionStore
    outbox: Outbox
    lanes: Lanes
    roster: AgentRoster
    adapters: AdapterPool
    control: ControlServer
    watcher: ExpiryWatcher
    indexer: SearchIndexer
    mirror: JsonlMirror
    reloader: Reloader
    retention: Retention
    eraser: Eraser
    updates: Updates
    admissions: Admissions
    memory: Memory
    namer: Namer
    door: ToolDoor
    http: HttpInterface
