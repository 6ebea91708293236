# needs: node
cat >a.js <<'EOF'
const c = require("child_process"), fs = require("fs");
console.log(c.execSync("echo from sh").toString());
fs.writeFileSync("x", "y".repeat(5000));
fs.readFile("x", (e, d) => {
	console.log(d.length);
	const p = c.spawn("sh", ["-c", "exit 4"]);
	p.on("exit", x => console.log(x));
});
EOF
node a.js
echo $?
