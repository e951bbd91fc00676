package deploy

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
)

// selectedBy reports whether a selector selects the pods of d. It reports false for an empty
// selector.
func (d deployment) selectedBy(selector map[string]string) bool {
	labels := d.Spec.Template.Metadata.Labels
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return len(selector) > 0
}

// manifests.selected returns the deployment whose pods a selector selects. There must be exactly
// one such deployment.
func (m manifests) selected(t *testing.T, selector map[string]string) deployment {
	t.Helper()
	var found []deployment
	for _, d := range m.deployments {
		if d.selectedBy(selector) {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%v selects %d deployments", selector, len(found))
	}
	return found[0]
}

func (d deployment) container() container { return d.Spec.Template.Spec.Containers[0] }

func (c container) port(t *testing.T, name string) int {
	t.Helper()
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	t.Fatalf("%s has no port %q", c.Name, name)
	return 0
}

// container.settings returns the variables of a container. A variable from a Secret has the value
// that secrets.example.yaml gives it. A variable from the pod's name has the value pod-name.
func (c container) settings(t *testing.T, m manifests) map[string]string {
	t.Helper()
	settings := map[string]string{}
	for _, e := range c.Env {
		value := e.Value
		switch {
		case e.ValueFrom.SecretKeyRef != nil:
			ref := e.ValueFrom.SecretKeyRef
			if value = m.secrets[ref.Name].StringData[ref.Key]; value == "" {
				t.Errorf("no secret %s has %s", ref.Name, ref.Key)
			}
		case e.ValueFrom.FieldRef != nil:
			if e.ValueFrom.FieldRef.FieldPath != "metadata.name" {
				t.Errorf("%+v", *e.ValueFrom.FieldRef)
			}
			value = "pod-name"
		default:
			noSecrets(t, map[string]string{e.Name: value})
		}
		if _, ok := settings[e.Name]; ok {
			t.Errorf("%s twice", e.Name)
		}
		settings[e.Name] = value
	}
	return settings
}

// checkPod checks what must hold for the pods of edges and of relays. The last parameter is the
// time that the process may take to stop.
func checkPod(t *testing.T, d deployment, stops time.Duration) {
	t.Helper()
	pod, c := d.Spec.Template.Spec, d.container()
	if !d.selectedBy(d.Spec.Selector.MatchLabels) {
		t.Errorf("%v does not select its own pods", d.Spec.Selector)
	}
	if len(pod.Containers) != 1 || d.Spec.Replicas < 2 {
		t.Errorf("%d containers, %d replicas", len(pod.Containers), d.Spec.Replicas)
	}
	if u := d.Spec.Strategy.RollingUpdate; d.Spec.Strategy.Type != "RollingUpdate" || u.MaxSurge != 1 || u.MaxUnavailable == nil || *u.MaxUnavailable != 0 {
		t.Errorf("a rollout takes away more than it gives: %+v", d.Spec.Strategy)
	}
	if grace := time.Duration(pod.GraceSeconds) * time.Second; grace < stops+margin {
		t.Errorf("killed after %v, it may take %v", grace, stops)
	}
	if s := pod.SecurityContext; !s.RunAsNonRoot || s.RunAsUser == 0 || s.RunAsGroup == 0 || s.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("%+v", s)
	}
	if s := c.SecurityContext; s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%+v", s)
	}
	if isNot(pod.EnableServiceLinks) || isNot(pod.AutomountServiceAccountToken) {
		t.Error("service links and the account's token must be declined")
	}
	if r := c.Resources; r.Limits["cpu"] != "" || r.Limits["memory"] == "" || r.Requests["cpu"] == "" || r.Requests["memory"] == "" {
		t.Errorf("%+v", r)
	}
	for _, s := range pod.TopologySpreadConstraints {
		if !d.selectedBy(s.LabelSelector.MatchLabels) {
			t.Errorf("%+v", s)
		}
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/livez" {
		t.Errorf("%+v %+v", c.ReadinessProbe, c.LivenessProbe)
	}
}

// isNot reports whether a setting leaves its feature switched on. Only the value false switches the
// feature off, since Kubernetes takes an absent setting for true.
func isNot(b *bool) bool { return b == nil || *b }

// checkProbes checks the probes of c. The addresses public and admin are those on which the
// container's process would listen. Each probe must name the port of one of these addresses. The
// process p runs for the test, on other ports. checkProbes sends each probe's request to the port
// of p that corresponds to the named port.
func checkProbes(t *testing.T, c container, p process, public, admin config.Addr) {
	t.Helper()
	for _, pr := range []probe{c.ReadinessProbe, c.LivenessProbe} {
		number := c.port(t, pr.HTTPGet.Port)
		publicPort, _ := port(t, public)
		adminPort, everywhere := port(t, admin)
		switch {
		case number == publicPort:
			answers(t, p.public+pr.HTTPGet.Path)
		case number == adminPort && everywhere:
			answers(t, p.admin+pr.HTTPGet.Path)
		default:
			t.Errorf("nobody listens on %d for %+v", number, pr)
		}
		if pr.TimeoutSeconds <= 0 || pr.PeriodSeconds <= 0 {
			t.Errorf("%+v", pr)
		}
	}
}

func TestKubernetesEdge(t *testing.T) {
	m := readManifests(t)
	d := m.deployments["edgerelay-edge"]
	if len(d.Spec.Template.Spec.Containers) == 0 {
		t.Fatal("no edge")
	}
	c := d.container()
	settings := c.settings(t, m)
	cfg := loadEdge(t, settings)
	checkPod(t, d, cfg.Drain)
	for _, v := range slices.Sorted(maps.Keys(edgeSecrets)) {
		if settings[v] == "" {
			t.Errorf("%s is not set", v)
		}
	}
	if cfg.NodeID != "pod-name" || cfg.Auth != "jwt" {
		t.Errorf("EDGE_NODE_ID is %q, EDGE_AUTH %q", cfg.NodeID, cfg.Auth)
	}
	publicPort, everywhere := port(t, cfg.Addr)
	if c.port(t, "clients") != publicPort || !everywhere {
		t.Errorf("clients come to %d, the edge listens on %s", c.port(t, "clients"), cfg.Addr)
	}
	adminPort, everywhere := port(t, cfg.AdminAddr)
	if c.port(t, "admin") != adminPort || !everywhere {
		t.Errorf("the admin port is %s", cfg.AdminAddr)
	}

	// The edge dials the name and the port of the relays' headless service.
	u, err := url.Parse(settings["EDGE_RELAY_URLS"])
	if err != nil {
		t.Fatal(err)
	}
	s, ok := m.services[u.Hostname()]
	if !ok || u.Scheme != "dns" || s.Spec.ClusterIP != "None" || s.Spec.PublishNotReadyAddresses {
		t.Fatalf("%s: %+v", u, s.Spec)
	}
	if u.Port() != strconv.Itoa(s.Spec.Ports[0].Port) || m.selected(t, s.Spec.Selector).Metadata.Name != "edgerelay-relay" {
		t.Errorf("%s: %+v", u, s.Spec)
	}

	e, _ := running(t)
	checkProbes(t, c, e, cfg.Addr, cfg.AdminAddr)

	a := m.autoscalers["edgerelay-edge"].Spec
	if a.ScaleTargetRef.Kind != d.Kind || a.ScaleTargetRef.APIVersion != d.APIVersion || a.ScaleTargetRef.Name != d.Metadata.Name || a.MinReplicas < d.Spec.Replicas {
		t.Errorf("%+v", a)
	}
	_, metrics := get(t, e.admin+"/metrics")
	pods := 0
	for _, metric := range a.Metrics {
		if metric.Pods == nil {
			continue
		}
		pods++
		if !strings.Contains(metrics, "\n"+metric.Pods.Metric.Name+" ") {
			t.Errorf("an edge has no metric %s", metric.Pods.Metric.Name)
		}
		if n, err := strconv.Atoi(metric.Pods.Target.AverageValue); err != nil || n >= cfg.MaxSessions {
			t.Errorf("%+v, EDGE_MAX_SESSIONS is %d", metric.Pods.Target, cfg.MaxSessions)
		}
	}
	if pods == 0 {
		t.Error("edges are not scaled by their sessions")
	}
}

func TestKubernetesRelay(t *testing.T) {
	m := readManifests(t)
	d := m.deployments["edgerelay-relay"]
	if len(d.Spec.Template.Spec.Containers) == 0 {
		t.Fatal("no relay")
	}
	c := d.container()
	settings := c.settings(t, m)
	cfg := loadRelay(t, settings)
	checkPod(t, d, relay.StopsWithin)
	for v := range relaySecrets {
		if settings[v] == "" {
			t.Errorf("%s is not set", v)
		}
	}
	linkPort, everywhere := port(t, cfg.Addr)
	if c.port(t, "link") != linkPort || !everywhere {
		t.Errorf("links come to %d, the relay listens on %s", c.port(t, "link"), cfg.Addr)
	}
	adminPort, everywhere := port(t, cfg.AdminAddr)
	if c.port(t, "admin") != adminPort || !everywhere {
		t.Errorf("the admin port is %s", cfg.AdminAddr)
	}
	_, r := running(t)
	checkProbes(t, c, r, cfg.Addr, cfg.AdminAddr)
}

func TestKubernetesSelectors(t *testing.T) {
	m := readManifests(t)
	for name, s := range m.services {
		d := m.selected(t, s.Spec.Selector)
		for _, p := range s.Spec.Ports {
			number := d.container().port(t, p.TargetPort)
			// A headless service resolves to the addresses of its pods, so the service's port must
			// be the container's port.
			if s.Spec.ClusterIP == "None" && p.Port != number {
				t.Errorf("%s: port %d, and its pods listen on %d", name, p.Port, number)
			}
		}
	}
	for name, b := range m.budgets {
		if d := m.selected(t, b.Spec.Selector.MatchLabels); b.Spec.MaxUnavailable != 1 || d.Metadata.Name != name {
			t.Errorf("%s: %+v", name, b.Spec)
		}
	}
	for name, p := range m.policies {
		d := m.selected(t, p.Spec.PodSelector.MatchLabels)
		if !slices.Equal(p.Spec.PolicyTypes, []string{"Ingress"}) {
			t.Errorf("%s: %v", name, p.Spec.PolicyTypes)
		}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				d.container().port(t, port.Port)
				if port.Port == "link" && m.selected(t, rule.From[0].PodSelector.MatchLabels).Metadata.Name != "edgerelay-edge" {
					t.Errorf("%s: %+v", name, rule)
				}
				if port.Port == "admin" && len(rule.From) == 0 {
					t.Errorf("%s: the admin port is open", name)
				}
			}
		}
	}
	for _, kind := range []int{len(m.services), len(m.budgets), len(m.policies), len(m.deployments)} {
		if kind != 2 {
			t.Errorf("%d objects of a kind that edges and relays both have", kind)
		}
	}
	// Each deployment must use exactly these secrets.
	for name, secrets := range map[string][]string{"edgerelay-edge": {"JWT_KEYS", "LINK_KEYS"}, "edgerelay-relay": {"JWT_KEYS", "LINK_KEYS", "RELAY_REDIS_URL"}} {
		var got []string
		for _, e := range m.deployments[name].container().Env {
			if e.ValueFrom.SecretKeyRef != nil {
				got = append(got, e.Name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, secrets) {
			t.Errorf("%s has the secrets %v", name, got)
		}
	}
}

// TestA13_KustomizationPinsImagesAndAppliesPolicies checks that images have a tag other than
// latest, and that each deployment has a network policy.
func TestA13_KustomizationPinsImagesAndAppliesPolicies(t *testing.T) {
	m := readManifests(t)
	if !slices.Contains(m.kustomization.Resources, "networkpolicy.yaml") {
		t.Errorf("no network policy among %v", m.kustomization.Resources)
	}
	for name := range m.deployments {
		if _, ok := m.policies[name]; !ok {
			t.Errorf("%s has no network policy", name)
		}
	}
	for _, i := range m.kustomization.Images {
		if i.NewTag == "" || i.NewTag == "latest" {
			t.Errorf("%s: the tag is %q, want one that does not move", i.Name, i.NewTag)
		}
	}
}

func TestKustomization(t *testing.T) {
	m := readManifests(t)
	tags := map[string]string{}
	for _, i := range m.kustomization.Images {
		tags[i.Name] = i.NewTag
	}
	for _, file := range m.kustomization.Resources {
		if _, err := os.Stat(filepath.Join(root, kubernetes, file)); err != nil {
			t.Error(err)
		}
	}
	images := map[string]bool{}
	for _, i := range m.kustomization.Images {
		images[i.Name] = i.NewName != "" && i.NewTag != ""
	}
	for name, d := range m.deployments {
		if !images[d.container().Image] {
			t.Errorf("%s: the image %s gets no name", name, d.container().Image)
		}
	}

	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not on the PATH: kustomize is not tried")
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(root, kubernetes)).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr(err))
	}
	built := noManifests()
	for _, document := range strings.Split(string(out), "\n---\n") {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(document), &node); err != nil {
			t.Fatal(err)
		}
		if err := built.add(&node); err != nil {
			t.Fatal(err)
		}
	}
	if len(built.policies) != len(m.deployments) {
		t.Errorf("%d network policies are applied, want %d", len(built.policies), len(m.deployments))
	}
	for name := range m.deployments {
		if got, want := built.deployments[name].container().Image, fmt.Sprintf("registry.example.com/%s:%s", name, tags[name]); got != want {
			t.Errorf("the image of %s is %s, want %s", name, got, want)
		}
	}
}

func stderr(err error) string {
	if e, ok := err.(*exec.ExitError); ok {
		return string(e.Stderr)
	}
	return ""
}
