import Planning
import Reconciling
import ResourceModel
import Testing

struct SettlingTests {
    private func action(_ address: String, _ fingerprint: String, settle: Duration = .seconds(60)) -> Action {
        var action = Action(
            address: World.address(address),
            kind: "Setting",
            handler: "Setting",
            operation: .delete,
            fields: [],
            steps: [],
            fingerprint: fingerprint
        )
        action.settle = settle
        return action
    }

    @Test func actsOnWhatStays() {
        var settling = Settling()
        let chain = action("a/S/1", "x")
        #expect(settling.look(at: "a", found: [chain], now: .seconds(10)) == [chain.address: .seconds(70)])
        #expect(settling.look(at: "a", found: [chain], now: .seconds(69)) == [chain.address: .seconds(70)])
        #expect(settling.look(at: "a", found: [chain], now: .seconds(70)) == [:])
        #expect(settling.look(at: "a", found: [chain], now: .seconds(71)) == [:], "and again where that failed")
        #expect(settling.look(at: "a", found: [], now: .seconds(72)) == [:] && settling.count == 0)
    }

    @Test func beginsAnewWhereItVanishedOrChangedOrNobodyLooked() {
        let chain = action("a/S/1", "x")
        for interrupt in [
            { $0.look(at: "a", found: [], now: .seconds(30)) }, { $0.look(at: "a", parts: { $0 == chain.address }, found: [], now: .seconds(30)) },
            { settling in
                settling.lost("a")
                return [:]
            },
        ] as [(inout Settling) -> [ResourceAddress: Duration]] {
            var settling = Settling()
            _ = settling.look(at: "a", found: [chain], now: .zero)
            #expect(interrupt(&settling) == [:])
            #expect(settling.look(at: "a", found: [chain], now: .seconds(61)) == [chain.address: .seconds(121)])
        }
        var settling = Settling()
        _ = settling.look(at: "a", found: [chain], now: .zero)
        #expect(settling.look(at: "a", found: [action("a/S/1", "y")], now: .seconds(61)) == [chain.address: .seconds(121)])
    }

    @Test func aLookAtSomethingElseSaysNothing() {
        var settling = Settling()
        let chain = action("a/S/1", "x")
        _ = settling.look(at: "a", found: [chain], now: .zero)
        _ = settling.look(at: "a", parts: { $0 == World.address("a/S/2") }, found: [], now: .seconds(30))
        _ = settling.look(at: "b", found: [], now: .seconds(30))
        #expect(settling.look(at: "a", found: [chain], now: .seconds(60)) == [:])
        settling.keep(only: ["b"])
        #expect(settling.count == 0)
    }

    @Test func withoutSettleNothingWaitsAndNothingIsKept() {
        var settling = Settling()
        #expect(settling.look(at: "a", found: [action("a/S/1", "x", settle: .zero)], now: .zero) == [:])
        #expect(settling.count == 0)
    }

    @Test func saysHowLong() {
        #expect(Settling.withheld(until: .seconds(60), now: .milliseconds(100)).message.contains("still so in 60 s"))
        #expect(Settling.withheld(until: .seconds(60), now: .zero).status == nil)
    }

    /// A chain that never stays for as long as its `settle` is never acted upon, whenever one looks; and one that stays is, at the second look
    /// after it.
    @Test(arguments: 0..<300) func neverActsOnAFlappingChain(seed: Int) {
        var random = Seeded(UInt64(seed))
        var settling = Settling()
        let settle = Duration.milliseconds(Int.random(in: 100...1000, using: &random))
        var now = Duration.zero
        var since: Duration?
        var looks = 0
        for _ in 0..<300 {
            now += .milliseconds(Int.random(in: 0...200, using: &random))
            // What is there changes only at looks: that is what can be seen.
            switch Int.random(in: 0..<6, using: &random) {
            case 0: since = nil
            case 1 where since == nil: (since, looks) = (now, 0)
            default: break
            }
            let chain = action("a/S/1", "\(since.map { "\($0)" } ?? "")", settle: settle)
            let waiting = settling.look(at: "a", found: since == nil ? [] : [chain], now: now)
            guard let since else {
                #expect(settling.count == 0)
                continue
            }
            looks += 1
            let isSettled = now - since >= settle && looks >= 2
            #expect(waiting[chain.address] == (isSettled ? nil : since + settle), "seed \(seed)")
        }
    }
}
