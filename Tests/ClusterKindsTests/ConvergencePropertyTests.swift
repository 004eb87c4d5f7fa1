import KubernetesAPI
import ResourceModel
import Testing
import Values

@testable import ClusterKinds

/// Random objects, random manifests, and a server in memory that merges them as server-side apply does.
struct ConvergencePropertyTests {
    /// What was applied is in sync, and what detect finds is what an apply changes.
    @Test(arguments: 0..<300)
    func detectAfterApplyFindsNothing(seed: Int) throws {
        var random = Random(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
        let manifest = Self.object(&random)
        let live = Self.merge(manifest, into: Self.object(&random))
        let other = Self.object(&random)

        // As applied: nothing to do.
        #expect(Self.detect(manifest, live: live, predicted: nil).standing == .inSync)

        // Something else is declared: the change carries it, and after it there is nothing to do again.
        let predicted = Self.merge(other, into: live)
        let drift = Self.detect(other, live: live, predicted: predicted)
        if drift.standing == .inSync {
            #expect(predicted == live)
        } else {
            #expect(drift.standing == .differs)
            #expect(!drift.differences.isEmpty)
            let change = KubernetesObject.change(drift)
            guard case .send(let request)? = change.steps.first?.operation, let body = request.body else {
                Issue.record("no request")
                return
            }
            let after = Self.merge(body, into: live)
            #expect(Self.detect(other, live: after, predicted: nil).standing == .inSync)
            #expect(after["data"] == predicted["data"])
        }
    }

    private static func detect(_ manifest: Value, live: Value, predicted: Value?) -> ResourceDrift {
        let address = ResourceAddress(target: "home", resource: "v1/ConfigMap/a/b")
        let resource = DesiredResource(kind: "ConfigMap", handler: "KubernetesObject", address: address, fields: manifest, origins: [])
        let facts: [String: ObservedObject] = [
            address.resource: ObservedObject(live: live, predicted: predicted),
            ServedKinds.factsKey: ObservedObject(live: ["v1/ConfigMap": ["plural": "configmaps", "namespaced": true]]),
        ]
        let drifts = KubernetesObject.detect([resource], TargetFacts(identity: "x", facts: .cluster(facts)))
        return drifts.first ?? Declared(resource).drift(.problem(.unknown, "no answer"))
    }

    /// Members are merged, lists of named elements by their names, all else is replaced.
    private static func merge(_ declared: Value, into live: Value?) -> Value {
        switch declared {
        case .object(let members):
            var result = live?.objectValue ?? [:]
            for (name, value) in members where value != .null { result[name] = merge(value, into: result[name]) }
            return .object(result)
        case .array(let elements) where elements.contains { $0["name"] != nil }:
            var result = live?.arrayValue ?? []
            for element in elements {
                if let index = result.firstIndex(where: { $0["name"] == element["name"] }) {
                    result[index] = merge(element, into: result[index])
                } else {
                    result.append(element)
                }
            }
            return .array(result)
        default: return declared
        }
    }

    private static func object(_ random: inout Random) -> Value {
        [
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "b", "namespace": "a"],
            "data": value(&random, depth: 0, isMapping: true),
        ]
    }

    private static func value(_ random: inout Random, depth: Int, isMapping: Bool = false) -> Value {
        let choice = isMapping ? 0 : random.below(depth > 3 ? 4 : 7)
        switch choice {
        case 0 where depth <= 3, 5:
            var members: [String: Value] = [:]
            for _ in 0...random.below(4) {
                // A name always stands for the same sort of thing, as it does in a schema.
                let names = ["a", "b", "c.d", "e/f"]
                let name = names[random.below(names.count)] + "\(depth)"
                switch random.below(4) {
                case 0: members["s\(name)"] = .string("v\(random.below(3))")
                case 1: members["n\(name)"] = .int(Int64(random.below(3)))
                case 2 where depth < 3: members["o\(name)"] = value(&random, depth: depth + 1, isMapping: true)
                case 3 where depth < 3: members["env"] = named(&random, depth: depth + 1)
                default: members["l\(name)"] = .array((0...random.below(2)).map { _ in .int(Int64(random.below(2))) })
                }
            }
            return .object(members)
        case 1: return .string("v\(random.below(3))")
        case 2: return .int(Int64(random.below(3)))
        case 3: return .bool(random.below(2) == 0)
        default: return .array((0...random.below(2)).map { _ in .string("v\(random.below(2))") })
        }
    }

    private static func named(_ random: inout Random, depth: Int) -> Value {
        var names = ["x", "y", "z"]
        return .array(
            (0...random.below(2)).map { _ in
                let name = names.remove(at: random.below(names.count))
                return ["name": .string(name), "value": .string("v\(random.below(2))")]
            }
        )
    }

    private struct Random {
        var state: UInt64

        mutating func below(_ limit: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(limit))
        }
    }
}
