"""The five clients: how each driver program is started, and which client stands in where one has no admin API."""
import dataclasses
import os
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
HOME = os.environ.get("CLIENTS_HOME") or os.path.abspath(os.path.join(HERE, "..", "..", ".tools", "clients"))


@dataclasses.dataclass(frozen=True)
class Driver:
    """A client under test. `argv` starts its program; `admin` names the client that creates topics and tells offsets."""

    name: str
    argv: tuple
    admin: str
    environment: tuple = ()
    idempotent: bool = True

    def command(self, verb, options):
        argv = [*self.argv, verb]
        for name, value in options.items():
            argv += [f"--{name}", str(value)]
        return argv

    def env(self):
        return {**os.environ, **dict(self.environment)}


def tool(*parts):
    return os.path.join(HOME, *parts)


PYTHON = tool("venv", "bin", "python")
JAVA = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
        f"{tool('java-classes')}:{tool('kafka-clients', '*')}", "Flights")

DRIVERS = {d.name: d for d in (
    Driver("confluent", (PYTHON, os.path.join(HERE, "confluent", "driver.py")), "confluent"),
    Driver("java", JAVA, "java"),
    Driver("franz", (tool("bin", "flights-franz"),), "franz"),
    Driver("kcat", (sys.executable, os.path.join(HERE, "flights", "kcat.py")), "confluent"),
    Driver("kafkajs", ("node", os.path.join(HERE, "kafkajs", "driver.js")), "kafkajs",
           (("NODE_PATH", tool("kafkajs", "node_modules")), ("KAFKAJS_NO_PARTITIONER_WARNING", "1"))),
)}
