"""A real RTSP server for tests: GStreamer's, run by the Python that has its bindings.

    /usr/bin/python3 rtsp_server.py [--user NAME --password SECRET] [--file H264.mp4] [--port N]

Prints `port N` once it listens, then serves until it is killed:
    /live     640x360 at 25 frames/s, H.264 without B-frames, as cameras send it
    /finite   one second, then the server says goodbye
    /audio    sound only
    /file     the given file, played once for each client
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = "video/x-raw,width=640,height=360,framerate=25/1,format=I420"
ENCODE = "x264enc speed-preset=ultrafast key-int-max=25 threads=1"
PAY = "rtph264pay name=pay0 pt=96 config-interval=1"
MOUNTS = {
    "/live": f"videotestsrc is-live=true ! {PICTURE} ! {ENCODE} tune=zerolatency ! {PAY}",
    "/finite": f"videotestsrc is-live=true num-buffers=25 ! {PICTURE} ! {ENCODE} tune=zerolatency ! {PAY}",
    "/audio": "audiotestsrc is-live=true ! audioconvert ! mulawenc ! rtppcmupay name=pay0 pt=0",
}


FILE = "filesrc location={} ! qtdemux ! h264parse ! " + PAY


def require_login(server, user, password):
    """Ask every client for a name and password (basic authentication)."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)


def make_factory(launch, with_login):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    factory.set_shared("is-live" in launch)
    if with_login:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    return factory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--file")
    parser.add_argument("--port", default="0", help="to be found again after a restart; 0: any")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    if options.user:
        require_login(server, options.user, options.password)
    mounts = {**MOUNTS, "/file": FILE.format(options.file)} if options.file else MOUNTS
    for path, launch in mounts.items():
        factory = make_factory(launch, bool(options.user))
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    sys.stdout.write(f"port {server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    sys.exit(main())
