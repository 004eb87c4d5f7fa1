import KubernetesAPI
import Values

/// A place in an object: how a person reads it, and how `managedFields` has it.
struct ObjectPlace: Hashable, Sendable {
    /// `spec.ports[0].port`, `metadata.annotations["a/b"]`, `data["key"]`
    var path = ""
    var steps: [FieldStep] = []

    func member(_ name: String) -> ObjectPlace {
        var result = self
        result.steps.append(.field(name))
        if case .field(let parent)? = steps.last, Self.namedByPeople.contains(parent) || !Self.isWord(name) {
            result.path += "[\"\(name)\"]"
        } else if !Self.isWord(name), !path.isEmpty {
            result.path += "[\"\(name)\"]"
        } else {
            result.path += path.isEmpty ? name : ".\(name)"
        }
        return result
    }

    /// An annotation `plumb/…` of the object itself: said to Plumb, and never sent by it.
    var isInstruction: Bool {
        guard steps.count == 3, steps[0] == .field("metadata"), steps[1] == .field("annotations") else { return false }
        return steps[2].fieldName?.hasPrefix("plumb/") ?? false
    }

    func element(_ index: Int, _ step: FieldStep) -> ObjectPlace {
        ObjectPlace(path: "\(path)[\(index)]", steps: steps + [step])
    }

    /// Mappings whose keys are names that somebody chose, and no fields.
    private static let namedByPeople: Set = [
        "annotations", "labels", "data", "stringData", "binaryData", "matchLabels", "nodeSelector", "limits", "requests", "hard",
    ]

    private static func isWord(_ text: String) -> Bool {
        text.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "_-$".utf8.contains(byte)
        }
    }
}

/// How the elements of a list are told apart.
enum ListShape {
    /// By what these members say.
    case keyed([String])
    /// Each by itself; the order says nothing.
    case set
    /// Not at all: the list is one value.
    case atomic

    /// - Parameter tree: what is known of the list from `managedFields`, which has it from the kind's own schema.
    init(_ tree: FieldTree?, field: String, elements: [Value]) {
        for step in tree?.children.keys ?? [:].keys {
            switch step {
            case .key(let members):
                self = .keyed(members.keys.sorted())
                return
            case .value:
                self = .set
                return
            case .field, .index: continue
            }
        }
        if let tree, tree.isMember, tree.children.isEmpty {
            self = .atomic
        } else if Self.sets.contains(field), elements.allSatisfy({ $0.stringValue != nil }) {
            self = .set
        } else if let keys = Self.keys(of: field, in: elements) {
            self = .keyed(keys)
        } else {
            self = .atomic
        }
    }

    private static let sets: Set = ["finalizers"]

    /// The lists of the Kubernetes project's own kinds that are merged. Names mean the same wherever they occur, `ports` aside.
    private static let keys: [String: [String]] = [
        "containers": ["name"], "initContainers": ["name"], "ephemeralContainers": ["name"], "env": ["name"], "volumes": ["name"],
        "volumeMounts": ["mountPath"], "volumeDevices": ["devicePath"], "imagePullSecrets": ["name"], "secrets": ["name"], "hostAliases": ["ip"],
        "topologySpreadConstraints": ["topologyKey", "whenUnsatisfiable"], "ownerReferences": ["uid"], "webhooks": ["name"],
        "resourceClaims": ["name"],
    ]

    private static func keys(of field: String, in elements: [Value]) -> [String]? {
        let candidates = field == "ports" ? [["containerPort", "protocol"], ["port", "protocol"]] : keys[field].map { [$0] } ?? []
        return candidates.first { keys in
            elements.allSatisfy { element in keys.allSatisfy { element[$0] ?? defaults[$0] != nil } }
        }
    }

    /// A merge key may be left out where it has a default.
    static let defaults: [String: Value] = ["protocol": "TCP"]

    static func key(of element: Value, _ names: [String]) -> [String: Value]? {
        var key: [String: Value] = [:]
        for name in names {
            guard let value = element[name] ?? defaults[name] else { return nil }
            key[name] = value
        }
        return key
    }

    static func index(of key: [String: Value], in elements: [Value]) -> Int? {
        elements.firstIndex { element in
            key.allSatisfy { name, value in (element[name] ?? defaults[name]).map { ObjectComparison.areSame($0, value) } ?? false }
        }
    }
}
