import Planning
import ResourceModel
import Testing

struct WithholdingTests {
    private func action(_ name: String, dependsOn: [String] = [], prunePhase: Int? = nil) -> Action {
        Action(
            address: World.address(name),
            kind: "Setting",
            handler: "Setting",
            operation: prunePhase == nil ? .update : .delete,
            fields: [],
            steps: [],
            fingerprint: name,
            dependsOn: dependsOn.map(World.address),
            phase: prunePhase ?? 0,
            isUndeclared: prunePhase != nil
        )
    }

    private func plan(_ actions: [Action]) -> Plan {
        Plan(
            planID: "id",
            revision: nil,
            source: "state",
            actions: actions,
            problems: [
                Problem(target: "a", address: World.address("a/S/zz"), status: .blocked, message: "it is being deleted")
            ]
        )
    }

    private func problems(_ plan: Plan) -> [String] { plan.problems.map { "\($0.address?.description ?? "") \($0.status.rawValue): \($0.message)" } }

    @Test func takesWhatDependsOnItAlong() {
        let found = plan([
            action("a/S/1"), action("a/S/2", dependsOn: ["a/S/1"]), action("b/S/3", dependsOn: ["a/S/2"]), action("b/S/4", dependsOn: ["a/S/other"]),
        ])
        let left = found.withholding([
            World.address("a/S/1"): Withheld(.held, "the policy is to report"), World.address("c/S/x"): Withheld(.held, "x"),
        ])
        #expect(left.actions.map(\.address) == [World.address("b/S/4")])
        #expect(
            problems(left) == [
                "a/S/1 held: the policy is to report", "a/S/2 blocked: waits for a/S/1 (held)", "a/S/zz blocked: it is being deleted",
                "b/S/3 blocked: waits for a/S/2 (blocked)",
            ]
        )
        #expect(left.planID == found.planID && left.notes == found.notes)
    }

    @Test func whatOnlyHasToWaitIsANote() {
        let left = plan([action("a/S/1"), action("a/S/2", dependsOn: ["a/S/1"])]).withholding([World.address("a/S/1"): Withheld(nil, "not yet")])
        #expect(left.actions.isEmpty && left.notes == ["a/S/1: not yet"])
        #expect(problems(left) == ["a/S/2 blocked: waits for a/S/1 (not yet)", "a/S/zz blocked: it is being deleted"])
    }

    @Test func whatIsNoLongerDeclaredStaysWithIt() {
        let prunes = [action("a/S/old", prunePhase: 101), action("a/S/older", prunePhase: 102), action("b/S/old", prunePhase: 101)]
        let first = plan([action("a/S/1")] + prunes).withholding([World.address("a/S/1"): Withheld(.contested, "a fight")])
        #expect(first.actions.map(\.address) == [World.address("b/S/old")])
        #expect(
            first.problems.contains { $0.message == "no longer declared; it stays until all else at a is as declared: waits for a/S/1 (contested)" }
        )
        let second = plan(prunes).withholding([World.address("a/S/old"): Withheld(.held, "the policy is to report")])
        #expect(second.actions.map(\.address) == [World.address("b/S/old")])
        #expect(second.problems.contains { $0.message.hasSuffix("until what goes before it is gone: waits for a/S/old (held)") })
        let third = plan(prunes).withholding([World.address("a/S/older"): Withheld(.held, "the policy is to report")])
        #expect(
            third.actions.map(\.address) == [World.address("a/S/old"), World.address("b/S/old")],
            "what stood in no prune's way before does not now"
        )
    }

    @Test func nothingWithheldIsTheSamePlan() {
        let found = plan([action("a/S/1")])
        for verdicts in [[:], [World.address("a/S/9"): Withheld(.held, "x")]] {
            let left = found.withholding(verdicts)
            #expect(left.actions == found.actions && left.problems == found.problems)
        }
    }

    /// Whatever is withheld: each action is done, or a problem, or a note; and none that is done depends on one that is not.
    @Test(arguments: 0..<200) func losesNothing(seed: Int) {
        var random = Seeded(UInt64(seed))
        let names = (0..<Int.random(in: 1...12, using: &random)).map { "\(["a", "b"][$0 % 2])/S/\($0)" }
        // What is declared depends on what is declared; what goes, on what goes before it at the same target.
        var actions: [Action] = []
        for (index, name) in names.enumerated() {
            let phase = index < names.count * 2 / 3 ? nil : 101 + index
            let earlier = actions.filter { $0.isUndeclared == (phase != nil) && (phase == nil || $0.address.target == name.prefix(1)) }
            let dependsOn = earlier.filter { _ in Int.random(in: 0..<4, using: &random) == 0 }.map(\.address.description)
            actions.append(action(name, dependsOn: dependsOn, prunePhase: phase))
        }
        let found = Plan(planID: "id", revision: nil, source: "state", actions: actions)
        var verdicts: [ResourceAddress: Withheld] = [:]
        for name in names where Int.random(in: 0..<3, using: &random) == 0 {
            verdicts[World.address(name)] = Withheld([nil, .held, .contested][Int.random(in: 0..<3, using: &random)], "because")
        }
        let left = found.withholding(verdicts)
        let done: Set<ResourceAddress> = Set(left.actions.map { $0.address })
        #expect(done.isDisjoint(with: verdicts.keys))
        #expect(left.actions.count + left.problems.count + left.notes.count == actions.count)
        #expect(left.actions.allSatisfy { $0.dependsOn.allSatisfy(done.contains) })
    }
}
