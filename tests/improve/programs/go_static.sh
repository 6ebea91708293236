# needs: go
# package: golang-go
export HOME=$PWD GOCACHE=$PWD/cache CGO_ENABLED=0 GOFLAGS=-mod=mod
cat >m.go <<'EOF'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"io"
	"os"
	"os/exec"
	"sync"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served ", r.URL.Path) }))
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			r, err := http.Get(fmt.Sprint(server.URL, "/", i))
			if err != nil { panic(err) }
			b, _ := io.ReadAll(r.Body)
			os.WriteFile(fmt.Sprint("f", i), b, 0600)
		}(i)
	}
	all.Wait()
	out, err := exec.Command("sh", "-c", "cat f? f?? | sort | md5sum; exit 3").CombinedOutput()
	fmt.Print(string(out), err, "\n")
}
EOF
go build -o m m.go && ./m
echo $?
rm -rf cache go m
