import Foundation
import Planning
import Reconciling
import ResourceModel
import Testing

struct FightsTests {
    private let noon = Moment(milliseconds: 1_785_585_600_000)
    private let address = World.address("home/v1/Service/default/web")
    private let kubectl = "spec.type was last set by kubectl-edit (Update) at 2026-08-01T12:00:00Z"

    /// Something changes it back at once, each time; it is put right whenever that is allowed. Returns when that was.
    private func fight(_ fights: inout Fights, from start: Moment, for duration: Duration, every step: Duration = .seconds(1)) -> [Moment] {
        var repairs: [Moment] = []
        var now = start
        while now < start + duration {
            if fights.verdict(address, at: now) == .free {
                fights.noteRepaired(address, fields: ["spec.type"], by: kubectl, at: now)
                repairs.append(now)
            }
            now = now + step
        }
        return repairs
    }

    @Test func backsOffAndSaysWho() throws {
        var fights = Fights()
        let repairs = fight(&fights, from: noon, for: .seconds(5 * 3600))
        let seconds = repairs.map { ($0 - noon).components.seconds }
        #expect(seconds == [0, 1, 2, 3, 4, 5, 65, 185, 425, 905, 1865, 3785, 7385, 10_985, 14_585])
        guard case .contested(let until, let message) = fights.verdict(address, at: noon + .seconds(14_586)) else {
            Issue.record("it is a fight")
            return
        }
        #expect(until == noon + .seconds(18_185))
        #expect(
            message == "spec.type was put right 15 times and changed again each time (\(kubectl)). Plumb leaves it alone until "
                + "2026-08-01 17:03:05 UTC, then tries once. To end it: stop what changes it, or 'plumb pause \(address) --reason …', "
                + "or take the field out of the spec; 'plumb resume \(address)' tries again at once"
        )
        #expect(fights.contested == [address] && fights.nextTry(after: noon + .seconds(14_586)) == until)
        let other = World.address("home/v1/Service/default/other")
        #expect(fights.verdict(other, at: noon) == .free)
    }

    @Test func aFewRevertsAreNoFight() {
        var fights = Fights()
        // Five in ten minutes, for ever.
        for count in 0..<100 {
            let now = noon + .seconds(121 * count)
            #expect(fights.verdict(address, at: now) == .free)
            fights.noteRepaired(address, fields: ["spec.type"], by: nil, at: now)
        }
        #expect(fights.contested == [])
    }

    @Test func eachFieldCountsForItself() {
        var fights = Fights()
        for count in 0..<20 {
            #expect(fights.verdict(address, at: noon + .seconds(count)) == .free)
            fights.noteRepaired(address, fields: ["spec.field\(count % 4)"], by: nil, at: noon + .seconds(count))
        }
        fights.noteRepaired(address, fields: ["spec.field0"], by: nil, at: noon + .seconds(20))
        #expect(fights.contested == [address])
    }

    @Test func whatHoldsIsForgotten() {
        for isSeen in [true, false] {
            var fights = Fights()
            let last = fight(&fights, from: noon, for: .seconds(66)).last ?? noon
            // Nothing happens after the last try; it may be looked at, or no event may ever tell of it.
            if isSeen { for minute in 1...11 { fights.noteInSync(address, at: last + .seconds(60 * minute)) } }
            #expect(fights.count == (isSeen ? 0 : 1))
            #expect(fights.verdict(address, at: last + .seconds(661)) == .free)
            #expect(fights.count == 0)
        }
    }

    @Test func whatDoesNotHoldIsNot() {
        var fights = Fights()
        let last = fight(&fights, from: noon, for: .seconds(70)).last ?? noon
        // Held for nine minutes, then changed again.
        fights.noteInSync(address, at: last + .seconds(60))
        #expect(fights.verdict(address, at: last + .seconds(540)) == .free, "the backoff is over")
        fights.noteRepaired(address, fields: ["spec.type"], by: nil, at: last + .seconds(540))
        guard case .contested(let until, _) = fights.verdict(address, at: last + .seconds(541)) else {
            Issue.record("it is the same fight")
            return
        }
        #expect(until == last + .seconds(540 + 240))
    }

    @Test func aPlanTellsWhatIsFoughtOver() {
        func plan(_ actions: [ResourceAddress], _ problems: [Problem] = []) -> Plan {
            let actions = actions.map { Action(address: $0, kind: "S", handler: "S", operation: .update, fields: [], steps: [], fingerprint: "") }
            return Plan(planID: "", revision: nil, source: "", actions: actions, problems: problems)
        }
        let other = World.address("home/v1/Service/default/other")
        let now = noon + .seconds(20)
        for (found, parts, isContested, isForgotten) in [
            (plan([address, other]), nil, true, false), (plan([address]), [other], false, false), (plan([]), [other], false, false),
            (plan([]), nil, false, true), (plan([]), [address], false, true),
            (plan([], [Problem(target: "home", status: .unreachable, message: "")]), nil, false, false),
            (plan([], [Problem(target: "home", address: address, status: .unknown, message: "")]), nil, false, false),
        ] as [(Plan, Set<ResourceAddress>?, Bool, Bool)] {
            var fights = Fights()
            _ = fight(&fights, from: noon, for: .seconds(10))
            let verdicts = fights.look(found, of: "home", parts: parts, at: now)
            #expect(verdicts.keys.map(\.self) == (isContested ? [address] : []))
            #expect(verdicts.values.allSatisfy { $0.status == .contested && $0.message.hasPrefix("spec.type was put right 6 times") })
            #expect(fights.look(plan([]), of: "pi-1", at: now) == [:])
            _ = fights.look(found, of: "home", parts: parts, at: now + .seconds(601))
            #expect((fights.count == 0) == isForgotten)
        }
    }

    @Test func whatNobodyTriesAnyMoreIsForgotten() {
        var fights = Fights()
        let last = fight(&fights, from: noon, for: .seconds(10)).last ?? noon
        // Changed back, and then gone without a word; something else is put right much later.
        fights.noteRepaired(World.address("a/S/1"), fields: ["x"], by: nil, at: last + .seconds(660))
        #expect(fights.count == 2)
        fights.noteRepaired(World.address("a/S/1"), fields: ["x"], by: nil, at: last + .seconds(661))
        #expect(fights.contested == [] && fights.count == 1)
    }

    @Test func resumingStartsFromNothing() {
        for (scope, isMeant) in [
            (.all, true), (.target("home"), true), (.addresses("home/*"), true), (.addresses("\(address)"), true), (.target("pi-1"), false),
        ] as [(Pause.Scope, Bool)] {
            var fights = Fights()
            _ = fight(&fights, from: noon, for: .seconds(10))
            fights.forget(scope)
            #expect((fights.verdict(address, at: noon + .seconds(11)) == .free) == isMeant)
        }
        var fights = Fights()
        _ = fight(&fights, from: noon, for: .seconds(10))
        fights.keep(only: ["pi-1"])
        #expect(fights.count == 0)
    }

    @Test func outlivesARestart() throws {
        var fights = Fights()
        _ = fight(&fights, from: noon, for: .seconds(10))
        var read = try JSONDecoder().decode(Fights.self, from: JSONEncoder().encode(fights))
        #expect(read == fights)
        #expect(read.verdict(address, at: noon + .seconds(20)) != .free)
    }

    @Test func aClockThatIsSetBackMakesNoWaitLonger() {
        var fights = Fights()
        _ = fight(&fights, from: noon, for: .seconds(10))
        let past = noon + .seconds(-86_400 * 365)
        #expect(fights.verdict(address, at: past) == .free)
        fights.noteRepaired(address, fields: ["spec.type"], by: nil, at: past)
        guard case .contested(let until, _) = fights.verdict(address, at: past + .seconds(1)) else {
            Issue.record("it is a fight still")
            return
        }
        #expect(until <= past + .seconds(3600))
    }

    @Test func namesWhatIsKnownOfTheOpponent() {
        var action = Action(address: address, kind: "S", handler: "S", operation: .update, fields: [], steps: [], fingerprint: "")
        #expect(action.opponent == nil)
        action.steps = [Step(.run(arguments: ["ip"]), summary: "ip")]
        #expect(action.opponent == "by something on the host")
        action.reason = kubectl
        #expect(action.opponent == kubectl)
    }

    /// Whatever anybody does to it and whenever: in any window there are no more repairs of a field than `reverts + 1` and one for each doubling
    /// that fits in; and what is remembered stays small.
    @Test(arguments: 0..<200) func isNeverHammered(seed: Int) {
        var random = Seeded(UInt64(seed))
        let limits = Fights.Limits(reverts: Int.random(in: 1...6, using: &random))
        var fights = Fights(limits: limits)
        let addresses = (0..<3).map { World.address("a/S/\($0)") }
        let fields = ["x", "y"]
        var repairs: [String: [Moment]] = [:]
        var now = noon
        for _ in 0..<2000 {
            now =
                now
                + .milliseconds(
                    Int.random(in: 0..<20, using: &random) == 0
                        ? Int.random(in: 0...900_000, using: &random) : Int.random(in: 0...5000, using: &random)
                )
            let address = addresses[Int.random(in: 0..<3, using: &random)]
            if Int.random(in: 0..<4, using: &random) == 0 {
                fights.noteInSync(address, at: now)
            } else if fights.verdict(address, at: now) == .free {
                let changed = fields.filter { _ in Bool.random(using: &random) }
                fights.noteRepaired(address, fields: changed, by: nil, at: now)
                for field in changed { repairs["\(address) \(field)", default: []].append(now) }
            }
            #expect(fights.count <= 3)
        }
        // 1 + 2 + 4 + 8 minutes do not fit into ten.
        let most = limits.reverts + 1 + 4
        for (what, times) in repairs {
            for time in times {
                let within = times.count { $0 >= time && $0 - time <= limits.window }
                #expect(within <= most, "\(what): \(within) from \(time), seed \(seed)")
            }
        }
        fights.noteRepaired(World.address("b/S/1"), fields: [], by: nil, at: now + .seconds(86_400))
        #expect(fights.count <= 4)
    }
}
