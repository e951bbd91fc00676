package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// HasCentrifugo reports whether Centrifugo is on the PATH.
func HasCentrifugo() bool {
	_, err := exec.LookPath("centrifugo")
	return err == nil
}

// Centrifugo returns a node of Centrifugo 6 that lets clients subscribe and publish. It works in
// memory if redis is nil. It keeps the given number of publications of each channel for a minute,
// from which clients recover what they missed. If that number is 0, it has no history.
func (d Dir) Centrifugo(redis *Server, history int) (*Server, error) {
	path, err := exec.LookPath("centrifugo")
	if err != nil {
		return nil, err
	}
	addr, port := free()
	type object = map[string]any
	client := object{"insecure": true, "allowed_origins": []string{"*"}}
	channels := object{"allow_subscribe_for_client": true, "allow_publish_for_client": true}
	if history > 0 {
		client["recovery_max_publication_limit"] = history
		channels["history_size"], channels["history_ttl"], channels["force_recovery"] = history, "60s", true
	}
	config := object{
		"http_server": object{"address": "127.0.0.1", "port": port},
		"client":      client,
		"channel":     object{"without_namespace": channels},
		"usage_stats": object{"enabled": false},
		"log":         object{"level": "error"},
	}
	if redis != nil {
		of := object{"address": "redis://" + redis.Addr}
		if history > 0 {
			of["io_timeout"] = "30s" // by default it gives up, and closes sessions, if many recover at once
		}
		config["engine"] = object{"type": "redis", "redis": of}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(string(d), "centrifugo-"+port+".json")
	return &Server{Addr: addr, path: path, args: []string{"--config", file}}, os.WriteFile(file, text, 0o600)
}

// The constant nginx is a configuration with one worker process for all sessions. A subscriber that
// is more than 200 messages behind may miss some.
const nginx = `load_module %s;
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65535;
pid nginx.pid; error_log stderr crit;
events { worker_connections 60000; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	nchan_shared_memory_size 512M;
	nchan_message_buffer_length 200;
	nchan_message_timeout 60s;
	server {
		listen %s backlog=4096;
		nchan_subscriber_first_message newest;
		location ~ ^/sub/(.+)$ { nchan_subscriber websocket; nchan_channel_id $1; }
		location ~ ^/pub/(.+)$ { nchan_publisher websocket; nchan_channel_id $1; }
		location ~ ^/both/(.+)$ { nchan_pubsub websocket; nchan_channel_id $1; }
	}
}
`

var modulesPath = regexp.MustCompile(`--modules-path=(\S+)`)

// nchanModule returns the path of nginx' nchan module.
func nchanModule() (string, error) {
	out, err := exec.Command("nginx", "-V").CombinedOutput()
	if err != nil {
		return "", errors.New("there is no nginx on the PATH")
	}
	found := modulesPath.FindSubmatch(out)
	if found == nil {
		return "", errors.New("nginx does not say where its modules are")
	}
	module := filepath.Join(string(found[1]), "ngx_nchan_module.so")
	if _, err := os.Stat(module); err != nil {
		return "", fmt.Errorf("nginx has no module nchan at %s", module)
	}
	return module, nil
}

// HasNchan returns nil if nginx has the nchan module, and otherwise the reason why not.
func HasNchan() error {
	_, err := nchanModule()
	return err
}

// Nchan returns an nginx of one worker process. Subscribers connect at /sub/, publishers at /pub/,
// and sessions that do both at /both/.
func (d Dir) Nchan() (*Server, error) {
	module, err := nchanModule()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, err
	}
	addr, port := free()
	file := filepath.Join(string(d), "nginx-"+port+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginx, module, addr), 0o600); err != nil {
		return nil, err
	}
	return &Server{Addr: addr, path: path, args: []string{"-p", string(d), "-c", file, "-e", "stderr"}}, nil
}
