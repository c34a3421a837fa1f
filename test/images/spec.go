package images

// Spec says what goes into an image.
type Spec struct {
	Repository string // path below the registry, e.g. library/nginx
	Tag        string
	Packages   []string // Debian packages; libraries they depend on come along
	Files      map[string]string
	Links      map[string]string // name -> target
	Dirs       []string
	Entrypoint []string
	Command    []string
	User       string
}

const nginxConf = `# Listens on 80 as the official image does, and on 60, the container port
# that the quick start publishes.
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 1024; }
http {
  access_log /dev/stdout;
  default_type text/html;
  server {
    listen 80 default_server;
    listen 60;
    root /usr/share/nginx/html;
    location = /whoami { default_type text/plain; return 200 "$hostname $remote_addr\n"; }
    location = /slow { limit_rate 96k; alias /usr/share/nginx/html/big; }
  }
}
`

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
curl_user:x:100:101::/home/curl_user:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
`

const group = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"

// Nginx stands in for docker.io/library/nginx:latest.
func Nginx() Spec {
	return Spec{
		Repository: "library/nginx", Tag: "latest",
		Packages: []string{"nginx", "nginx-common"},
		Files: map[string]string{
			"etc/nginx/nginx.conf":     nginxConf,
			"etc/passwd":               passwd,
			"etc/group":                group,
			"usr/share/nginx/html/big": bigFile(),
		},
		Dirs:       []string{"run", "tmp", "var/lib/nginx", "var/log/nginx", "dev", "proc", "sys"},
		Entrypoint: []string{"/usr/sbin/nginx"},
		Command:    []string{"-c", "/etc/nginx/nginx.conf"},
	}
}

// Curl stands in for docker.io/curlimages/curl:7.82.0: curl and a small shell.
func Curl() Spec {
	links := map[string]string{}
	for _, applet := range []string{"sh", "tail", "sleep", "cat", "ls", "ps", "ping", "nc", "env", "id", "ip", "seq", "wget", "kill"} {
		links["usr/bin/"+applet] = "busybox"
	}
	return Spec{
		Repository: "curlimages/curl", Tag: "7.82.0",
		Packages:   []string{"curl", "busybox-static"},
		Files:      map[string]string{"etc/passwd": passwd, "etc/group": group},
		Links:      links,
		Dirs:       []string{"run", "tmp", "root", "dev", "proc", "sys"},
		Entrypoint: []string{"/usr/bin/curl"},
		User:       "curl_user", // by name, as the official image has it
	}
}

// bigFile is 4 MiB of text for transfers that outlast a restart.
func bigFile() string {
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = "0123456789abcdef\n"[i%17]
	}
	return string(b)
}
