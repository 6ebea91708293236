# needs: java
cat >H.java <<'EOF'
class H {
	public static void main(String[] a) throws Exception {
		Thread[] t = new Thread[8];
		for (int i = 0; i < 8; i++) {
			t[i] = new Thread(() -> System.gc());
			t[i].start();
		}
		for (Thread x : t)
			x.join();
		try {
			Object o = null;
			o.hashCode();
		} catch (NullPointerException e) {
			System.out.println("npe");
		}
		System.out.println(new String(new ProcessBuilder("echo", "hi").start().getInputStream().readAllBytes()));
	}
}
EOF
java -Xshare:off H.java
echo $?
