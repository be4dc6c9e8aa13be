package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// render returns objects as YAML documents, without the fields that only a server fills in.
func render(objects ...any) ([]byte, error) {
	var out bytes.Buffer
	for i, object := range objects {
		raw, err := json.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("rendering %T: %w", object, err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, fmt.Errorf("rendering %T: %w", object, err)
		}
		delete(fields, "status")
		tidy(fields)
		text, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("rendering %T: %w", object, err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// tidy drops what is null and what the typed structs write although it is empty.
func tidy(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if object, ok := inner.(map[string]any); ok && len(object) == 0 && key != "emptyDir" || inner == nil {
				delete(v, key)
				continue
			}
			tidy(inner)
		}
	case []any:
		for _, inner := range v {
			tidy(inner)
		}
	}
}
