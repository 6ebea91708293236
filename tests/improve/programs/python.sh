# needs: /usr/bin/python3
cat > p.py <<'EOF'
import asyncio, multiprocessing, os, subprocess, sys, threading, tempfile

def add(n):
    total.append(n)

total = []
threads = [threading.Thread(target=add, args=(i,)) for i in range(50)]
for t in threads: t.start()
for t in threads: t.join()
print(sum(total))
print(subprocess.run(["sh", "-c", "echo $0 $1; exit 3", "a", "b"], capture_output=True))
print(subprocess.run("cat; exit 4", shell=True, input=b"through a pipe", capture_output=True))

async def main():
    many = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(4)]
    server = await asyncio.start_server(lambda r, w: (w.write(b"served"), w.close()), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read(), [await one.wait() for one in many])
    server.close()
asyncio.run(main())
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 100000); f.seek(0); print(len(f.read()))
pid = os.fork()
if pid == 0:
    os._exit(9)
print(os.waitpid(pid, 0)[1])
try:
    os.stat("/nonexistent")
except FileNotFoundError as e:
    print(e)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(abs, [-1, -2, -3]))
sys.exit(5)
EOF
/usr/bin/python3 p.py
echo $?
