import KubernetesAPI
import ResourceModel
import Values

/// Compares what is declared of an object with what it is.
///
/// Only declared fields are looked at, and fields that are ours but no longer declared; all else is somebody else's. Without a prediction a
/// field differs when it is not what was declared; with one, when applying would change it, so that defaults, other spellings of a
/// quantity and what the server chooses itself are no differences.
struct ObjectComparison {
    struct Difference: Hashable {
        var place: ObjectPlace
        var observed: Value?
        var desired: Value?
        /// False: it is ours from before, and no longer declared.
        var isDeclared = true
    }

    private(set) var differences: [Difference] = []
    /// Every declared field as it is, for the fingerprint.
    private(set) var observed: [String: Value] = [:]
    private let isPredicted: Bool
    private let entries: [ManagedFieldsEntry]
    /// All fields that anybody set, for what it says about lists; made with the first list.
    private var shape: FieldTree?

    static func local(_ declared: Declared, live: Value?) -> ObjectComparison {
        ObjectComparison(declared, live: live, predicted: nil)
    }

    static func confirmed(_ declared: Declared, live: Value?, predicted: Value) -> ObjectComparison {
        ObjectComparison(declared, live: live, predicted: predicted)
    }

    private init(_ declared: Declared, live: Value?, predicted: Value?) {
        isPredicted = predicted != nil
        let all = [live, predicted].compactMap(\.self).flatMap(ManagedFieldsEntry.entries)
        // Entries of another version can have other lists.
        entries = all.filter { $0.apiVersion == declared.groupVersion.description }
        for (name, value) in (declared.body.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) where !["apiVersion", "kind"].contains(name) {
            var value = value
            if name == "metadata" {
                // What makes the object that it is.
                value["name"] = nil
                value["namespace"] = nil
                if value == [:] { continue }
            }
            walk(value, live?[name], predicted?[name], ObjectPlace().member(name))
        }
        guard let live, let ours = all.first(where: { $0.isApply(by: KubernetesObject.fieldManager) }) else { return }
        guard ours.apiVersion == declared.groupVersion.description else { return }
        findUndeclared(ours.fields, declared.body, live, predicted, ObjectPlace())
    }

    /// - Parameter live: nil: not there.
    private mutating func walk(_ declared: Value, _ live: Value?, _ predicted: Value?, _ place: ObjectPlace) {
        switch declared {
        case .object(let members):
            // Nothing is asserted of what is in it, only that it is there.
            if members.isEmpty { return judge(declared, live.map(Self.bare), predicted.map(Self.bare), place) }
            // Members of what is no mapping: the whole of it differs.
            if let live, live != .null, live.objectValue == nil { return judge(declared, live, predicted, place) }
            for (name, value) in members.sorted(by: { $0.key < $1.key }) {
                walk(value, live?[name], predicted?[name], place.member(name))
            }
        case .array(let elements) where !elements.isEmpty:
            walk(elements, live, predicted, place)
        default: judge(declared, live, predicted, place)
        }
    }

    private mutating func walk(_ declared: [Value], _ live: Value?, _ predicted: Value?, _ place: ObjectPlace) {
        let field = place.steps.last?.fieldName ?? ""
        let found = live?.arrayValue ?? []
        let next = predicted?.arrayValue ?? []
        switch ListShape(tree(at: place), field: field, elements: declared) {
        case .keyed(let names):
            var added = 0
            for element in declared {
                guard let key = ListShape.key(of: element, names) else { return judge(.array(declared), live, predicted, place) }
                let step = FieldStep.key(key)
                let new = ListShape.index(of: key, in: next).map { next[$0] }
                if let index = ListShape.index(of: key, in: found) {
                    walk(element, found[index], new, place.element(index, step))
                } else {
                    judge(element, nil, new, place.element(found.count + added, step))
                    added += 1
                }
            }
        case .set:
            var added = 0
            for element in declared where !found.contains(element) {
                judge(element, nil, next.contains(element) ? element : nil, place.element(found.count + added, .value(element)))
                added += 1
            }
        case .atomic:
            let counts = [declared.count, found.count] + (isPredicted ? [next.count] : [])
            guard Set(counts).count == 1 else { return judge(.array(declared), live, predicted, place) }
            for (index, element) in declared.enumerated() {
                walk(element, found[index], isPredicted ? next[index] : nil, place.element(index, .index(index)))
            }
        }
    }

    private mutating func tree(at place: ObjectPlace) -> FieldTree? {
        let all = shape ?? entries.reduce(FieldTree()) { $0.merging($1.fields) }
        shape = all
        return place.steps.reduce(all) { $0?.children[$1] }
    }

    private static func bare(_ value: Value) -> Value { value.objectValue == nil ? value : [:] }

    private mutating func judge(_ declared: Value, _ live: Value?, _ predicted: Value?, _ place: ObjectPlace) {
        observed[place.path] = live ?? .null
        if isPredicted {
            if !Self.areSame(live, predicted) { add(place, live, predicted) }
        } else if !Self.areSame(declared, live), !(live.map { Quantity.areSame(declared, $0, at: place) } ?? false) {
            add(place, live, declared)
        }
    }

    private mutating func add(_ place: ObjectPlace, _ observed: Value?, _ desired: Value?, isDeclared: Bool = true) {
        differences.append(Difference(place: place, observed: observed, desired: desired, isDeclared: isDeclared))
    }

    /// Finds what we once declared and no longer do: server-side apply removes it, if nobody else set it too.
    private mutating func findUndeclared(_ tree: FieldTree, _ declared: Value, _ live: Value, _ predicted: Value?, _ place: ObjectPlace) {
        for (step, child) in tree.children.sorted(by: { Self.order($0.key) < Self.order($1.key) }) {
            guard let (value, index) = Self.find(step, in: live) else { continue }
            let next = predicted.flatMap { Self.find(step, in: $0)?.value }
            let childPlace =
                switch step {
                case .field(let name): place.member(name)
                default: place.element(index, step)
                }
            if let (inner, _) = Self.find(step, in: declared) {
                // A declared null stands for all below it, a scalar has nothing below.
                if inner.objectValue != nil || inner.arrayValue != nil { findUndeclared(child, inner, value, next, childPlace) }
            } else if !child.isMember, value.objectValue != nil || value.arrayValue != nil {
                // Ours is only some of what is in it.
                findUndeclared(child, .null, value, next, childPlace)
            } else if childPlace.isInstruction {
                // Whoever wrote it there under our name: it is said to us, and stays.
                continue
            } else if !isPredicted || !Self.areSame(value, next) {
                observed[childPlace.path] = value
                add(childPlace, value, next, isDeclared: false)
            }
        }
    }

    private static func order(_ step: FieldStep) -> String {
        switch step {
        case .field(let name): "f\(name)"
        case .key(let members): "k\(Value.object(members).canonicalJSON)"
        case .value(let value): "v\(value.canonicalJSON)"
        case .index(let index): "i\(index)"
        }
    }

    private static func find(_ step: FieldStep, in value: Value) -> (value: Value, index: Int)? {
        switch step {
        case .field(let name): return value[name].map { ($0, 0) }
        case .key(let key):
            guard let elements = value.arrayValue, let index = ListShape.index(of: key, in: elements) else { return nil }
            return (elements[index], index)
        case .value(let element):
            guard let elements = value.arrayValue, let index = elements.firstIndex(of: element) else { return nil }
            return (element, index)
        case .index(let index):
            guard let elements = value.arrayValue, elements.indices.contains(index) else { return nil }
            return (elements[index], index)
        }
    }

    /// Null, an empty list and nothing at all are one to an API server; so are 1 and 1.0.
    static func areSame(_ a: Value?, _ b: Value?) -> Bool {
        switch (a ?? .null, b ?? .null) {
        case (.null, .array(let elements)), (.array(let elements), .null): elements.isEmpty
        case (.int(let whole), .double(let fraction)), (.double(let fraction), .int(let whole)): Double(whole) == fraction
        case (let a, let b): a == b
        }
    }
}
