import KubernetesAPI
import Values

/// Letting go of fields without touching their values: our entry in `managedFields` is made smaller, or removed.
///
/// An apply without these fields would do something else: the server resets what nobody holds any more.
struct Release {
    /// Under which the plan shows it.
    static let path = "metadata.managedFields[\"\(KubernetesObject.fieldManager)\"]"

    let operations: [Value]
    /// The fields, as a person reads them.
    let words: String

    /// nil: there is nothing to let go of.
    init?(_ places: [ObjectPlace], entries: [ManagedFieldsEntry], live: Value) {
        guard !places.isEmpty, let uid = live[path: "metadata", "uid"],
            let ours = entries.first(where: { $0.isApply(by: KubernetesObject.fieldManager) })
        else { return nil }
        let left = places.reduce(ours.fields) { $0.subtracting($1.steps[...]) }
        let pointer = "/metadata/managedFields/\(ours.index)"
        // The list can have changed since it was read; then a test fails and nothing is done.
        var operations: [Value] = [
            ["op": "test", "path": "/metadata/uid", "value": uid],
            ["op": "test", "path": .string("\(pointer)/manager"), "value": .string(ours.manager)],
            ["op": "test", "path": .string("\(pointer)/operation"), "value": .string(ours.operation)],
            ["op": "test", "path": .string("\(pointer)/fieldsV1"), "value": ours.fields.fieldsV1],
        ]
        if left.isEmpty {
            operations.append(["op": "remove", "path": .string(pointer)])
        } else {
            operations.append(["op": "replace", "path": .string("\(pointer)/fieldsV1"), "value": left.fieldsV1])
        }
        self.operations = operations
        words = places.map(\.path).joined(separator: ", ")
    }

    /// Lets go of all that we hold of an object; nil: that is nothing.
    init?(allOf live: Value) {
        let entries = ManagedFieldsEntry.entries(of: live)
        guard let ours = entries.first(where: { $0.isApply(by: KubernetesObject.fieldManager) }) else { return nil }
        self.init(Self.places(in: ours.fields, ObjectPlace()), entries: [ours], live: live)
    }

    private static func places(in tree: FieldTree, _ place: ObjectPlace) -> [ObjectPlace] {
        guard !tree.children.isEmpty else { return [place] }
        return tree.children.sorted { "\($0.key)" < "\($1.key)" }.flatMap { step, child -> [ObjectPlace] in
            guard case .field(let name) = step else { return [place] }
            return places(in: child, place.member(name))
        }
    }
}
