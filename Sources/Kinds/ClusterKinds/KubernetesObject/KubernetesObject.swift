import Foundation
import KubernetesAPI
import ResourceModel
import Values

/// Any object of a Kubernetes API server, asserted with server-side apply. All manifests are of this one kind: what differs from kind to kind
/// (defaults, units, what can be changed) is the server's to know, and it is asked with a dry-run.
enum KubernetesObject {
    static let kind = RegisteredKind(
        name: "KubernetesObject",
        // Manifests come with their own kinds and are read by SpecLoading itself.
        decode: { _ in [] },
        probe: [],
        detect: detect,
        undeclared: undeclared,
        change: change
    )

    /// Under which name our fields stand in `managedFields`.
    static let fieldManager = "plumb"

    /// What kubectl remembers in an object of what it sent. A copy of it in a manifest says nothing, and of a Secret it holds the secrets.
    static let lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
}

/// A manifest, as it is compared and sent.
struct Declared: Sendable {
    let resource: DesiredResource
    let groupVersion: GroupVersion
    let kind: String
    /// What SpecLoading took it to be; the server decides whether the kind has one.
    let namespace: String?
    let name: String
    let body: Value

    init(_ resource: DesiredResource) {
        self.resource = resource
        groupVersion = GroupVersion(resource.fields["apiVersion"]?.stringValue ?? "")
        kind = resource.fields["kind"]?.stringValue ?? resource.kind
        namespace = resource.fields[path: "metadata", "namespace"]?.stringValue
        name = resource.fields[path: "metadata", "name"]?.stringValue ?? ""
        var body = resource.fields
        body["metadata"]?["annotations"]?[KubernetesObject.lastApplied] = nil
        if body[path: "metadata", "annotations"] == [:] { body["metadata"]?["annotations"] = nil }
        self.body = Secrets.isSecret(body) ? Secrets.declared(body) : body
    }

    var key: String { resource.address.resource }
    var managesFieldsOnly: Bool { resource.instructions.managesFieldsOnly }
    var kindKey: String { "\(groupVersion)/\(kind)" }

    /// `Service default/kubernetes`
    var words: String { "\(kind) \([namespace, name].compactMap(\.self).joined(separator: "/"))" }

    func path(_ api: APIResource) -> String { api.path(namespace: namespace, name: name) }

    /// What is sent. It carries the UID of the object it was made for, so that it can't be applied to another that came in its place,
    /// nor make a new one of something that is not ours to make.
    func body(for live: Value?, _ api: APIResource) -> Value {
        var body = body
        if !api.isNamespaced { body["metadata"]?["namespace"] = nil }
        if let uid = live?[path: "metadata", "uid"] { body["metadata"]?["uid"] = uid }
        return body
    }
}

/// A Secret's values are hidden in everything that is read and everything that is declared.
enum Secrets {
    static func isSecret(_ object: Value) -> Bool { object["kind"] == "Secret" && object["apiVersion"] == "v1" }

    static func hide(_ object: Value) -> Value {
        guard isSecret(object) else { return object }
        var hidden = object
        for field in ["data", "stringData"] {
            guard let value = object[field], value != .null else { continue }
            // In a Secret that is written wrongly, too: the server repeats what it can't take.
            hidden[field] = value.objectValue.map { .object($0.mapValues(Secrets.hidden)) } ?? Secrets.hidden(value)
        }
        // kubectl keeps a copy of all it sent here.
        if let copy = object[path: "metadata", "annotations", KubernetesObject.lastApplied] {
            hidden["metadata"]?["annotations"]?[KubernetesObject.lastApplied] = Secrets.hidden(copy)
        }
        return hidden
    }

    /// Turns `stringData` into the `data` that the server would make of it. Sent as it is, its fields would be ours under a name that no
    /// stored Secret has, and a key that is no longer declared would stay for ever.
    static func declared(_ body: Value) -> Value {
        var result = hide(body)
        guard let texts = result["stringData"]?.objectValue else { return result }
        var data = result["data"]?.objectValue ?? [:]
        for (key, value) in texts {
            guard case .sensitive(let secret) = value, let text = secret.exposed.stringValue else {
                // Not a text: the server has to say so, of the field that the person wrote.
                return result
            }
            data[key] = hidden(.string(Data(text.utf8).base64EncodedString()))
        }
        result["stringData"] = nil
        result["data"] = .object(data)
        return result
    }

    /// Whether a server's words about this body could repeat a secret.
    static func areIn(_ value: Value) -> Bool {
        switch value {
        case .sensitive: true
        case .array(let elements): elements.contains(where: areIn)
        // What stands in a wrong place of a Secret may be secret all the same.
        case .object(let members): isSecret(value) || members.values.contains(where: areIn)
        default: false
        }
    }

    private static func hidden(_ value: Value) -> Value {
        if case .sensitive = value { value } else { .sensitive(SensitiveValue(value)) }
    }
}
