package deploy

import (
	"bytes"
	"errors"
	"io"
	"path"
	"testing"

	"go.yaml.in/yaml/v3"
)

// These types are the part of Kubernetes' objects that the manifests use. An unknown field is an
// error. Otherwise a misspelled name would be noticed only when the manifests are applied.
type (
	meta struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
	matchLabels struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Metadata   meta   `yaml:"metadata"`
	}

	deployment struct {
		object `yaml:",inline"`
		Spec   struct {
			Replicas        int `yaml:"replicas"`
			MinReadySeconds int `yaml:"minReadySeconds"`
			Strategy        struct {
				Type          string `yaml:"type"`
				RollingUpdate struct {
					MaxSurge       int  `yaml:"maxSurge"`
					MaxUnavailable *int `yaml:"maxUnavailable"`
				} `yaml:"rollingUpdate"`
			} `yaml:"strategy"`
			Selector matchLabels `yaml:"selector"`
			Template struct {
				Metadata meta    `yaml:"metadata"`
				Spec     podSpec `yaml:"spec"`
			} `yaml:"template"`
		} `yaml:"spec"`
	}
	podSpec struct {
		EnableServiceLinks           *bool `yaml:"enableServiceLinks"`
		AutomountServiceAccountToken *bool `yaml:"automountServiceAccountToken"`
		GraceSeconds                 int   `yaml:"terminationGracePeriodSeconds"`
		TopologySpreadConstraints    []struct {
			MaxSkew           int         `yaml:"maxSkew"`
			TopologyKey       string      `yaml:"topologyKey"`
			WhenUnsatisfiable string      `yaml:"whenUnsatisfiable"`
			LabelSelector     matchLabels `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		SecurityContext struct {
			RunAsNonRoot   bool `yaml:"runAsNonRoot"`
			RunAsUser      int  `yaml:"runAsUser"`
			RunAsGroup     int  `yaml:"runAsGroup"`
			SeccompProfile struct {
				Type string `yaml:"type"`
			} `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []container `yaml:"containers"`
	}
	container struct {
		Name  string `yaml:"name"`
		Image string `yaml:"image"`
		Env   []struct {
			Name      string `yaml:"name"`
			Value     string `yaml:"value"`
			ValueFrom struct {
				SecretKeyRef *struct {
					Name string `yaml:"name"`
					Key  string `yaml:"key"`
				} `yaml:"secretKeyRef"`
				FieldRef *struct {
					FieldPath string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
			} `yaml:"valueFrom"`
		} `yaml:"env"`
		Ports []struct {
			Name          string `yaml:"name"`
			ContainerPort int    `yaml:"containerPort"`
		} `yaml:"ports"`
		ReadinessProbe probe `yaml:"readinessProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		Resources      struct {
			Requests map[string]string `yaml:"requests"`
			Limits   map[string]string `yaml:"limits"`
		} `yaml:"resources"`
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct {
				Drop []string `yaml:"drop"`
			} `yaml:"capabilities"`
		} `yaml:"securityContext"`
	}
	probe struct {
		HTTPGet struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"` // name of a container's port
		} `yaml:"httpGet"`
		PeriodSeconds    int `yaml:"periodSeconds"`
		TimeoutSeconds   int `yaml:"timeoutSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}

	kubeService struct {
		object `yaml:",inline"`
		Spec   struct {
			ClusterIP                string            `yaml:"clusterIP"`
			PublishNotReadyAddresses bool              `yaml:"publishNotReadyAddresses"`
			Selector                 map[string]string `yaml:"selector"`
			Ports                    []struct {
				Name       string `yaml:"name"`
				Port       int    `yaml:"port"`
				TargetPort string `yaml:"targetPort"`
			} `yaml:"ports"`
		} `yaml:"spec"`
	}
	disruptionBudget struct {
		object `yaml:",inline"`
		Spec   struct {
			MaxUnavailable int         `yaml:"maxUnavailable"`
			Selector       matchLabels `yaml:"selector"`
		} `yaml:"spec"`
	}
	secret struct {
		object     `yaml:",inline"`
		StringData map[string]string `yaml:"stringData"`
	}
	metricTarget struct {
		Type         string `yaml:"type"`
		AverageValue string `yaml:"averageValue"`
	}
	autoscaler struct {
		object `yaml:",inline"`
		Spec   struct {
			ScaleTargetRef struct {
				APIVersion string `yaml:"apiVersion"`
				Kind       string `yaml:"kind"`
				Name       string `yaml:"name"`
			} `yaml:"scaleTargetRef"`
			MinReplicas int `yaml:"minReplicas"`
			MaxReplicas int `yaml:"maxReplicas"`
			Metrics     []struct {
				Type     string `yaml:"type"`
				Resource *struct {
					Name   string       `yaml:"name"`
					Target metricTarget `yaml:"target"`
				} `yaml:"resource"`
				Pods *struct {
					Metric struct {
						Name string `yaml:"name"`
					} `yaml:"metric"`
					Target metricTarget `yaml:"target"`
				} `yaml:"pods"`
			} `yaml:"metrics"`
			Behavior struct {
				ScaleUp   scaling `yaml:"scaleUp"`
				ScaleDown scaling `yaml:"scaleDown"`
			} `yaml:"behavior"`
		} `yaml:"spec"`
	}
	scaling struct {
		StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
		Policies                   []struct {
			Type          string `yaml:"type"`
			Value         int    `yaml:"value"`
			PeriodSeconds int    `yaml:"periodSeconds"`
		} `yaml:"policies"`
	}
	networkPolicy struct {
		object `yaml:",inline"`
		Spec   struct {
			PodSelector matchLabels `yaml:"podSelector"`
			PolicyTypes []string    `yaml:"policyTypes"`
			Ingress     []struct {
				From []struct {
					PodSelector       *matchLabels `yaml:"podSelector"`
					NamespaceSelector *matchLabels `yaml:"namespaceSelector"`
				} `yaml:"from"`
				Ports []struct {
					Port string `yaml:"port"`
				} `yaml:"ports"`
			} `yaml:"ingress"`
		} `yaml:"spec"`
	}
	kustomization struct {
		object    `yaml:",inline"`
		Resources []string `yaml:"resources"`
		Images    []struct {
			Name    string `yaml:"name"`
			NewName string `yaml:"newName"`
			NewTag  string `yaml:"newTag"`
		} `yaml:"images"`
	}
)

// manifests holds objects of Kubernetes. The keys of its maps are the names of the objects.
type manifests struct {
	deployments   map[string]deployment
	services      map[string]kubeService
	budgets       map[string]disruptionBudget
	secrets       map[string]secret
	autoscalers   map[string]autoscaler
	policies      map[string]networkPolicy
	kustomization kustomization
}

const kubernetes = "deploy/kubernetes/"

func noManifests() manifests {
	return manifests{
		map[string]deployment{}, map[string]kubeService{}, map[string]disruptionBudget{}, map[string]secret{},
		map[string]autoscaler{}, map[string]networkPolicy{}, kustomization{},
	}
}

func readManifests(t *testing.T) manifests {
	t.Helper()
	m := noManifests()
	for _, file := range ours(t) {
		if path.Dir(file)+"/" != kubernetes {
			continue
		}
		documents := yaml.NewDecoder(bytes.NewReader([]byte(read(t, file))))
		for {
			var node yaml.Node
			err := documents.Decode(&node)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = m.add(&node)
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	return m
}

func (m *manifests) add(node *yaml.Node) error {
	var o object
	if err := node.Decode(&o); err != nil {
		return err
	}
	switch o.APIVersion + " " + o.Kind {
	case "apps/v1 Deployment":
		return put(node, m.deployments)
	case "v1 Service":
		return put(node, m.services)
	case "policy/v1 PodDisruptionBudget":
		return put(node, m.budgets)
	case "v1 Secret":
		return put(node, m.secrets)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return put(node, m.autoscalers)
	case "networking.k8s.io/v1 NetworkPolicy":
		return put(node, m.policies)
	case "kustomize.config.k8s.io/v1beta1 Kustomization":
		return strictly(node, &m.kustomization)
	}
	return errors.New("unknown object " + o.APIVersion + " " + o.Kind)
}

func put[T interface{ name() string }](node *yaml.Node, objects map[string]T) error {
	var o T
	if err := strictly(node, &o); err != nil {
		return err
	}
	if _, ok := objects[o.name()]; ok || o.name() == "" {
		return errors.New("no name, or another's: " + o.name())
	}
	objects[o.name()] = o
	return nil
}

func (o object) name() string { return o.Metadata.Name }

// The function strictly decodes a document into the variable behind a pointer. It returns an error
// if the document has a field that the variable does not have.
func strictly(node *yaml.Node, into any) error {
	text, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return d.Decode(into)
}
