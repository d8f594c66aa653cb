"""One OpenStack Swift node with the S3 protocol in one process: ``python3 swift_node.py FOLDER``.

Debian's own Python runs this, for Debian's Swift; the tests' environment never imports it
(``s3_server.py`` starts it). The account, container and object servers and the proxy in front of
them listen on free ports of the loopback address; all files lie in FOLDER, which must be on a
file system with extended attributes. Once requests are answered, the proxy's port is printed.
"""

import os
import pwd
import sys
from pathlib import Path

import eventlet
from eventlet import wsgi
from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.storage_policy import reload_storage_policies
from swift.common.swob import Request
from swift.common.wsgi import loadapp

# The key that s3_server.py signs with: tempauth's user "test:tester" with key "testing".
PROXY = """
[pipeline:main]
pipeline = s3api tempauth bulk slo proxy-server
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""


def main(folder: Path) -> None:
    utils.eventlet_monkey_patch()
    (folder / "devices" / "d").mkdir(parents=True)
    set_hash(folder)
    sockets = {
        name: eventlet.listen(("127.0.0.1", 0)) for name in ("account", "container", "object")
    }
    for name, socket in sockets.items():
        write_ring(folder / f"{name}.ring.gz", socket.getsockname()[1])
    for name, socket in sockets.items():
        app = f"[app:main]\nuse = egg:swift#{name}\n"
        eventlet.spawn(serve, socket, load(folder, name, app))
    proxy = eventlet.listen(("127.0.0.1", 0))
    app = without_cache(load(folder, "proxy", PROXY))
    make_account(app)
    print(proxy.getsockname()[1], flush=True)
    serve(proxy, app)


def set_hash(folder: Path) -> None:
    """Swift salts its file names from a file in /etc, which not every user may read."""
    policy = "[storage-policy:0]\nname = one\ndefault = yes\n"
    salt = "[swift-hash]\nswift_hash_path_suffix = tests\n"
    (folder / "swift.conf").write_text(salt + policy)
    utils.set_swift_dir(str(folder))
    reload_storage_policies()


def write_ring(path: Path, port: int) -> None:
    """A ring of one partition and one copy, on the one device."""
    builder = RingBuilder(part_power=0, replicas=1, min_part_hours=0)
    builder.add_dev(
        {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d", "weight": 1}
    )
    builder.rebalance()
    builder.get_ring().save(str(path))


def load(folder: Path, name: str, text: str):
    conf = folder / f"{name}.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    conf.write_text(
        f"[DEFAULT]\nswift_dir = {folder}\ndevices = {folder / 'devices'}\nmount_check = false\n"
        f"fallocate_reserve = 0\nuser = {user}\n{text}"
    )
    return loadapp(str(conf), global_conf={"log_name": name})


class NoCache:
    """Stands where Swift wants memcached, and remembers nothing."""

    def get(self, *_, **__) -> None:
        return None

    set = delete = get


def without_cache(app):
    def call(environ, start_response):
        environ["swift.cache"] = NoCache()
        return app(environ, start_response)

    return call


def make_account(app) -> None:
    """Swift makes an account on its first write, and two first writes at once may collide."""
    request = Request.blank("/v1/AUTH_test", method="POST")
    request.environ["swift.authorize_override"] = True
    status = request.get_response(app).status_int
    assert status == 204, status


def serve(socket, app) -> None:
    wsgi.server(socket, app, utils.NullLogger(), log_output=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
