"""Moto's S3 on a free port of the loopback address: ``python moto_node.py``.

A process of its own: Moto sets AWS variables, and its warnings are not ours. Once requests are
answered, its port is printed.
"""

import threading

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
