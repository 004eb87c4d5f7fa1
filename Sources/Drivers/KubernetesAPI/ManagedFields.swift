package import Values

/// Where something is inside an object, as `managedFields` tells places apart.
package enum FieldStep: Hashable, Sendable {
    case field(String)
    /// The element of a list whose members with these names have these values.
    case key([String: Value])
    /// The element of a set that is this value.
    case value(Value)
    case index(Int)

    /// Reads `f:spec`, `k:{"port":443}`, `v:"text"`, `i:0`.
    init?(_ text: String) {
        let rest = text.dropFirst(2)
        switch text.prefix(2) {
        case "f:": self = .field(String(rest))
        case "k:":
            guard let members = (try? Value(json: rest.utf8))?.objectValue else { return nil }
            self = .key(members)
        case "v:":
            guard let value = try? Value(json: rest.utf8) else { return nil }
            self = .value(value)
        case "i:":
            guard let index = Int(rest) else { return nil }
            self = .index(index)
        default: return nil
        }
    }

    /// The name of a member; nil for elements of lists.
    package var fieldName: String? {
        if case .field(let name) = self { name } else { nil }
    }

    var text: String {
        switch self {
        case .field(let name): "f:\(name)"
        case .key(let members): "k:\(Value.object(members).canonicalJSON)"
        case .value(let value): "v:\(value.canonicalJSON)"
        case .index(let index): "i:\(index)"
        }
    }
}

/// A set of fields, as a tree (`fieldsV1`).
package struct FieldTree: Hashable, Sendable {
    /// The place itself is in the set, and not only something below it.
    package var isMember: Bool
    package var children: [FieldStep: FieldTree]

    package init(isMember: Bool = false, children: [FieldStep: FieldTree] = [:]) {
        self.isMember = isMember
        self.children = children
    }

    package init(fieldsV1: Value) {
        let members = fieldsV1.objectValue ?? [:]
        // A leaf is written `{}`; a place that has others below it says that it is meant too with a dot.
        self.init(isMember: members.isEmpty || members["."] != nil)
        for (key, value) in members {
            if let step = FieldStep(key) { children[step] = FieldTree(fieldsV1: value) }
        }
    }

    package var fieldsV1: Value {
        var members: [String: Value] = [:]
        for (step, tree) in children { members[step.text] = tree.fieldsV1 }
        if isMember, !members.isEmpty { members["."] = [:] }
        return .object(members)
    }

    package var isEmpty: Bool { !isMember && children.isEmpty }

    package func merging(_ other: FieldTree) -> FieldTree {
        FieldTree(
            isMember: isMember || other.isMember,
            children: children.merging(other.children) { $0.merging($1) }
        )
    }

    /// Whether a place is in the set, or lies in something that is there as a whole, or holds something that is there.
    package func touches(_ path: some Sequence<FieldStep>) -> Bool {
        var tree = self
        for step in path {
            // A member without members below it is one value to whoever set it: what lies inside is theirs as well.
            if tree.isMember, tree.children.isEmpty { return true }
            guard let next = tree.children[step] else { return false }
            tree = next
        }
        return true
    }

    package func subtracting(_ path: ArraySlice<FieldStep>) -> FieldTree {
        guard let first = path.first else { return FieldTree() }
        var result = self
        if let child = children[first] {
            let rest = child.subtracting(path.dropFirst())
            result.children[first] = rest.isEmpty ? nil : rest
        }
        return result
    }
}

/// Who set which fields, with what, and when last.
package struct ManagedFieldsEntry: Hashable, Sendable {
    package var manager: String
    /// `Apply` or `Update`.
    package var operation: String
    package var apiVersion: String
    /// RFC 3339, as the server writes it; empty where it does not.
    package var time: String
    package var subresource: String
    private var fieldsV1: Value
    /// Its place in the list.
    package var index: Int

    package static func entries(of object: Value) -> [ManagedFieldsEntry] {
        (object[path: "metadata", "managedFields"]?.arrayValue ?? []).enumerated().map { index, entry in
            ManagedFieldsEntry(
                manager: entry["manager"]?.stringValue ?? "",
                operation: entry["operation"]?.stringValue ?? "",
                apiVersion: entry["apiVersion"]?.stringValue ?? "",
                time: entry["time"]?.stringValue ?? "",
                subresource: entry["subresource"]?.stringValue ?? "",
                fieldsV1: entry["fieldsV1"] ?? .null,
                index: index
            )
        }
    }

    /// Made anew each time it is asked for; for a single place `touches` is cheaper.
    package var fields: FieldTree { fieldsV1 == .null ? FieldTree() : FieldTree(fieldsV1: fieldsV1) }

    /// As `FieldTree.touches`, reading no more than the way there.
    package func touches(_ path: some Sequence<FieldStep>) -> Bool {
        if fieldsV1 == .null { return FieldTree().touches(path) }
        var members = fieldsV1.objectValue ?? [:]
        for step in path {
            if members.keys.allSatisfy({ $0 == "." }) { return true }
            let next =
                if case .field = step { members[step.text] } else { members.first { FieldStep($0.key) == step }?.value }
            guard let next else { return false }
            members = next.objectValue ?? [:]
        }
        return true
    }

    /// Set by server-side apply under this name: what the name's owner declares.
    package func isApply(by name: String) -> Bool { manager == name && operation == "Apply" && subresource.isEmpty }
}
