import Observing
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing
import Values
import YAML

/// Several pull requests against one observation.
struct PullRequestBatchTests {
    /// Heads of one base in one world, some of them strangers'.
    private func scenes(_ random: inout Seeded) -> [Scene] {
        let first = Scene(&random)
        return (0..<6).map { index in
            var scene = first
            if index > 0 { scene.head = Scene(&random).head }
            scene.isForStranger = index % 3 == 2
            return scene
        }
    }

    @Test(arguments: 0..<200) func eachComesOutAsItWouldAloneAndEachHostIsAskedOnce(seed: UInt64) async {
        var random = Seeded(seed)
        let scenes = scenes(&random)
        let batch = PullRequestBatch(scenes.map(\.pass))
        #expect(batch.apart.isEmpty)
        let together = await batch.compare(concurrency: 4) { _ in scenes[0].collaborators }
        let asked = scenes[0].asked.targets.withLock { $0.map(\.name) }
        #expect(Set(asked).count == asked.count, "\(asked)")
        for (scene, outcome) in zip(scenes, together) {
            let alone = await scene.outcome()
            #expect(outcome.base.planID == alone.base.planID && outcome.base.actions == alone.base.actions)
            #expect(outcome.head.actions == alone.head.actions && outcome.head.problems == alone.head.problems)
            #expect(outcome.difference.changes.map(\.action) == alone.difference.changes.map(\.action))
            #expect(outcome.difference.drift == alone.difference.drift)
        }
    }

    @Test func aTargetThatIsReachedInTwoWaysIsAskedInBoth() async {
        let live = ["a": ["x": 1], "new": ["x": 5]]
        func scene(_ address: String?) -> Scene {
            var scene = Scene(base: ["a/Setting/x": 1], head: ["a/Setting/x": 1, "new/Setting/x": 2], live: live)
            scene.head.targets = scene.head.targets.map { target in
                guard case .host(var host) = target, host.name == "new", let address else { return target }
                host.address = address
                return .host(host)
            }
            return scene
        }
        let scenes = [scene("192.0.2.1"), scene("192.0.2.2"), scene("192.0.2.1")]
        let batch = PullRequestBatch(scenes.map(\.pass))
        #expect(batch.apart == [1])
        let outcomes = await batch.compare(concurrency: 4) { _ in scenes[0].collaborators }
        #expect(outcomes.map { $0.difference.changes.count } == [1, 1, 1])
        let asked = scenes[0].asked.targets.withLock { $0 }.compactMap { target in
            if case .host(let host) = target, host.name == "new" { host.address } else { nil }
        }
        #expect(asked.sorted() == ["192.0.2.1", "192.0.2.2"])
    }

    private static func objects(_ maps: [String: Int]) -> DesiredState {
        let cluster = Cluster(name: "home", context: "home", position: SourcePosition(file: "s", line: 1, column: 1))
        let resources = maps.sorted { $0.key < $1.key }.map { name, value in
            DesiredResource(
                kind: "ConfigMap",
                handler: "KubernetesObject",
                address: World.address("home/v1/ConfigMap/default/\(name)"),
                fields: ["apiVersion": "v1", "kind": "ConfigMap", "data": ["k": .int(Int64(value))]],
                origins: [SourcePosition(file: "s", line: 1, column: 1)]
            )
        }
        return DesiredState(targets: [.cluster(cluster)], resources: resources, contentHash: "\(maps)")
    }

    private func pass(_ head: [String: Int], isForStranger: Bool = false) -> PullRequestPass {
        func pass(_ desired: DesiredState) -> Pass { Pass(desired: desired, kinds: [], revision: "r", source: "s", concurrency: 4) }
        return PullRequestPass(
            base: pass(Self.objects(["x": 1])),
            head: pass(Self.objects(head)),
            isForStranger: isForStranger,
            comparesValues: true
        )
    }

    /// What was asked, `OBJECT=VALUE`, of whom.
    private final class Asked: Sendable {
        let observed = Mutex<[Bool: [[String]]]>([:])
        let predicted = Mutex<[Bool: [String]]>([:])

        static func words(_ resources: [DesiredResource]) -> [String] {
            resources.map { "\($0.address.resource.split(separator: "/").last ?? "")=\($0.fields[path: "data", "k"]?.intValue ?? 0)" }
        }

        func collaborators(_ isForStranger: Bool) -> PullRequestCollaborators {
            PullRequestCollaborators(
                observe: { _, resources in
                    self.observed.withLock { $0[isForStranger, default: []].append(Self.words(resources)) }
                    return .observed(TargetFacts(identity: "c", facts: .cluster([:])))
                },
                predict: { _, resources, facts in
                    self.predicted.withLock { $0[isForStranger, default: []] += Self.words(resources) }
                    return facts
                },
                withoutPast: { $0 },
                withoutPredictions: { $0 }
            )
        }
    }

    /// SECURITY.md, "Manifests": also where others' pull requests are planned together with a stranger's.
    @Test func aStrangersManifestsAreNotAskedAboutForAnybody() async {
        let asked = Asked()
        let batch = PullRequestBatch([
            pass(["x": 2, "mine": 1]), pass(["x": 666, "theirs": 666], isForStranger: true), pass(["x": 1, "mine": 3, "other": 4]),
            pass(["x": 1], isForStranger: true),
        ])
        _ = await batch.compare(concurrency: 4) { asked.collaborators($0) }
        #expect(asked.observed.withLock { $0 } == [false: [["mine=1", "other=4", "x=1"]], true: [["x=1"]]])
        // What others have asked about with another manifest is asked about again with one's own.
        #expect(asked.predicted.withLock { $0 } == [false: ["x=2", "mine=3"]])
    }
}
