import Controller
import ResourceModel
import Synchronization
import Testing

@Suite struct ControllerTests {
    private func standing(_ controller: Controller, _ target: String) async -> ControllerStatus.Standing? {
        await controller.status().targets.first { $0.name == target }?.standing
    }

    @Test func convergesAndSaysAtWhichRevision() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.count { $0.inSyncAt == "a1" && $0.standing == .inSync } == 2 })
            let status = await controller.status()
            #expect(status.targets.map(\.name) == ["pi-1", "pi-2"])
            #expect(status.source.revision == "a1")
            #expect(world.state.withLock { $0.settings["pi-2"]?["mtu"] } == 1400)
        }
    }

    @Test func aPushIsCarriedOutAndItsOutcomeTold() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.first?.inSyncAt == "a1" })
            world.push("b2", ["pi-1/mtu": 1300])
            await controller.announce(commit: "b2", byWebhook: true)
            let lines = await controller.outcome(of: "b2", within: .seconds(20))
            #expect(lines == ["b2 applied: 1 changed at 1 targets"])
            #expect(world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1300)
        }
    }

    @Test func aPushOfAnotherBranchIsNoneOfItsBusiness() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().source.revision == "a1" })
            #expect(await controller.follows("refs/heads/main"))
            #expect(await !controller.follows("refs/heads/feature"))
            #expect(await controller.follows(nil))
        }
        var configuration = Configuration()
        configuration.source.revision = "stable"
        await world.run(configuration) { controller in
            #expect(await controller.follows("refs/tags/stable"))
            #expect(await !controller.follows("refs/heads/main"))
        }
    }

    @Test func aBrokenRevisionChangesNothingAndIsSaid() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.first?.inSyncAt == "a1" })
            world.state.withLock { $0.source = .refused(commit: "bad", ["specs.yaml:3:1: error: unknown field 'mtuu'"]) }
            await controller.announce(commit: "bad", byWebhook: false)
            let lines = await controller.outcome(of: "bad", within: .seconds(20))
            #expect(lines.first == "bad is refused, and nothing of it is applied:")
            #expect(lines.last == "specs.yaml:3:1: error: unknown field 'mtuu'")
            let status = await controller.status()
            #expect(status.source.revision == "a1")
            #expect(status.source.refusedRevision == "bad")
            #expect(status.source.mistakes == ["specs.yaml:3:1: error: unknown field 'mtuu'"])
            // What is in force is still held.
            world.change("pi-1", "mtu", to: 9)
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
        }
    }

    @Test func anEventLooksAtWhatItIsAboutAndNothingElse() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-1/flag": 1, "pi-2/mtu": 1400])
        await world.run { controller in
            // Each was looked at at the start and once more when it could be followed.
            #expect(await eventually { await controller.status().targets.count { $0.inSyncAt == "a1" && $0.isFollowed } == 2 })
            #expect(await eventually { await controller.status().targets.allSatisfy { $0.lastPass?.reasons.contains("connected") ?? false } })
            let before = world.state.withLock { ($0.wholes, $0.changes.count) }
            world.change("pi-1", "mtu", to: 5)
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
            let after = world.state.withLock { ($0.wholes, $0.parts, $0.changes.count) }
            #expect(after.0 == before.0)
            #expect(after.1["pi-2"] == nil)
            #expect(after.2 == before.1 + 1)
        }
    }

    @Test func aDeadHostDelaysNoOther() async {
        let world = ScriptedWorld()
        world.push("a1", ["dead/mtu": 1, "pi-1/mtu": 1400])
        world.state.withLock { $0.dead["dead"] = .seconds(3600) }
        await world.run { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
            world.change("pi-1", "mtu", to: 5)
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
            // Its look is still under way; the end of this test does not wait for it.
        }
    }

    @Test func aHostThatIsBackIsLookedAtFromScratch() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        world.state.withLock { $0.dead["pi-1"] = .zero }
        await world.run { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .problem })
            world.state.withLock { $0.dead = [:] }
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
        }
    }

    @Test func aHostThatIsLostIsNotCalledInSync() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.first?.lastPass?.reasons == ["connected"] })
            world.state.withLock { $0.dead["pi-1"] = .zero }
            world.tell("pi-1", .lost("connection reset"))
            #expect(await eventually { await standing(controller, "pi-1") == .problem })
            #expect(await controller.status().targets.first?.inSyncAt == "a1")
            // An event that comes while it gives no answer is not lost: all of it is looked at.
            world.state.withLock { $0.dead = [:] }
            world.change("pi-1", "mtu", to: 5)
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
        }
    }

    @Test func whatDependsOnAnotherTargetWaitsForIt() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400], dependencies: ["pi-2/mtu": "pi-1/mtu"])
        world.state.withLock { $0.dead["pi-1"] = .zero }
        await world.run { controller in
            #expect(await eventually { await standing(controller, "pi-2") == .problem })
            #expect(world.state.withLock { $0.settings["pi-2"] } == nil)
            world.state.withLock { $0.dead = [:] }
            #expect(await eventually { await controller.status().targets.count { $0.inSyncAt == "a1" } == 2 })
            #expect(world.state.withLock { $0.changes } == ["pi-1/Setting/mtu", "pi-2/Setting/mtu"])
        }
    }

    @Test func reportOnlyChangesNothing() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        var configuration = Configuration()
        configuration.policy.mode = .report
        await world.run(configuration) { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .drifting })
            #expect(world.state.withLock { $0.changes } == [])
            #expect(await controller.status().targets.first?.open.first?.message.contains("reported only") == true)
        }
    }

    @Test func whatIsTakenBackIsNoMistakeAnyMore() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.first?.inSyncAt == "a1" })
            world.state.withLock { $0.source = .refused(commit: "bad", ["specs.yaml:3:1: error: unknown field 'mtuu'"]) }
            await controller.announce(commit: "bad", byWebhook: false)
            #expect(await eventually { await controller.status().source.refusedRevision == "bad" })
            // The branch is what it was before.
            world.push("a1", ["pi-1/mtu": 1400])
            await controller.announce(commit: nil, byWebhook: false)
            #expect(await eventually { await controller.status().source.mistakes == [] })
            #expect(await controller.status().source.refusedRevision == nil)
        }
    }

    @Test func theLastGoodRevisionIsHeldWhileTheSourceGivesNoAnswer() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        world.state.withLock { state in
            guard case .loaded(let good) = state.source else { return }
            state.source = .loadedInstead(good, because: .failed("no route to host"))
        }
        await world.run { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
            let status = await controller.status()
            #expect(status.source.revision == "a1" && status.source.mistakes == ["no route to host"] && status.source.refusedRevision == nil)
            // It is asked again before long, without a push and long before the next poll.
            world.push("b2", ["pi-1/mtu": 1300])
            #expect(await eventually { await controller.status().source.revision == "b2" })
            #expect(await controller.status().source.mistakes == [])
        }
    }

    @Test func manyPushesAreNoFight() async {
        let world = ScriptedWorld()
        world.push("r0", ["pi-1/mtu": 1000])
        var configuration = Configuration()
        configuration.fights.reverts = 2
        await world.run(configuration) { controller in
            for number in 1...6 {
                world.push("r\(number)", ["pi-1/mtu": 1000 + Int64(number)])
                await controller.announce(commit: "r\(number)", byWebhook: true)
                #expect(await eventually { await controller.status().targets.first?.inSyncAt == "r\(number)" })
            }
            // Somebody who changes it back is one.
            for _ in 0..<3 {
                let before = await controller.status().targets.first?.lastPass?.ended
                world.change("pi-1", "mtu", to: 5)
                #expect(
                    await eventually {
                        let last = await controller.status().targets.first?.lastPass
                        return last?.ended != before && last?.changed == 1
                    }
                )
            }
            world.change("pi-1", "mtu", to: 5)
            #expect(await eventually { await controller.status().targets.first?.open.first?.status == "contested" })
            #expect(world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 5)
        }
    }

    /// A slow disk: what is kept last is what was so last.
    @Test func whatIsKeptLastIsTheNewest() async {
        let world = ScriptedWorld()
        let kept = Mutex<[String?]>([])
        let refs = Mutex<Set<String?>>([])
        world.state.withLock { state in
            state.remember = { memory in
                try? await Task.sleep(for: .milliseconds(memory.commit == "r1" ? 50 : 0))
                kept.withLock { $0.append(memory.commit) }
                refs.withLock { _ = $0.insert(memory.ref) }
            }
        }
        world.push("r1", ["pi-1/mtu": 1])
        await world.run { controller in
            #expect(await eventually { await controller.status().source.revision == "r1" })
            for number in 2...5 {
                world.push("r\(number)", ["pi-1/mtu": Int64(number)])
                await controller.announce(commit: "r\(number)", byWebhook: true)
                #expect(await eventually { await controller.status().source.revision == "r\(number)" })
            }
        }
        // Its end waits for it.
        #expect(kept.withLock { $0.last } == "r5")
        #expect(kept.withLock { $0.compactMap(\.self) } == kept.withLock { $0.compactMap(\.self).sorted() })
        #expect(refs.withLock { $0 } == ["refs/heads/main"])
    }

    @Test func aHostThatSaysItIsPausedIsLookedAtAgain() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        world.state.withLock { $0.paused = ["pi-1"] }
        await world.run { controller in
            #expect(await eventually { await controller.status().targets.first?.open.first?.status == "held" })
            #expect(world.state.withLock { $0.settings["pi-1"] } == nil)
            world.state.withLock { $0.paused = [] }
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
        }
    }

    @Test func whatIsChangedBackAgainAndAgainIsContested() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        var configuration = Configuration()
        configuration.fights.reverts = 3
        await world.run(configuration) { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
            for round in 1...4 {
                world.change("pi-1", "mtu", to: 5)
                #expect(await eventually { world.state.withLock { $0.changes.count } == round + 1 })
            }
            world.change("pi-1", "mtu", to: 5)
            #expect(await eventually { await controller.status().targets.first?.open.first?.status == "contested" })
            #expect(await controller.status().targets.first?.open.first?.message.contains("plumb pause pi-1/Setting/mtu") == true)
            #expect(world.state.withLock { $0.changes.count } == 5)
            // Tried again at once when a person says so.
            await controller.pausesChanged(resumed: [.addresses("pi-1/*")])
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1400 })
        }
    }

    @Test func onlyTheLeaderActs() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run { controller in
            #expect(await eventually { await standing(controller, "pi-1") == .inSync })
            await controller.setLeading(false)
            world.change("pi-1", "mtu", to: 5)
            world.push("b2", ["pi-1/mtu": 1300])
            await controller.announce(commit: "b2", byWebhook: true)
            #expect(await eventually { await controller.status().source.revision == "b2" })
            #expect(world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 5)
            await controller.setLeading(true)
            #expect(await eventually { world.state.withLock { $0.settings["pi-1"]?["mtu"] } == 1300 })
        }
    }

    /// Changes behind its back at random, pushes at random: at the end all is as the last revision says, and no target was ever looked at twice at once.
    @Test(arguments: 0..<8) func convergesWhateverHappens(round: Int) async {
        let world = ScriptedWorld()
        world.state.withLock { $0.isSlow = true }
        let hosts = (1...5).map { "pi-\($0)" }
        world.push("r0", ["pi-1/a": 1, "pi-2/a": 1, "pi-3/a": 1, "pi-4/a": 1, "pi-5/a": 1])
        var configuration = Configuration()
        // More reverts than anybody but a test would do.
        configuration.fights.reverts = 1000
        await world.run(configuration) { controller in
            #expect(await eventually { await controller.status().targets.count { $0.isFollowed } == 5 })
            for step in 1...60 {
                switch Int.random(in: 0..<4) {
                case 0:
                    let value = Int64(step)
                    world.push("r\(step)", ["pi-1/a": value, "pi-2/a": value, "pi-3/a": value, "pi-4/a": value, "pi-5/a": value])
                    await controller.announce(commit: "r\(step)", byWebhook: true)
                default: world.change(hosts[Int.random(in: 0..<5)], "a", to: -1)
                }
                try? await Task.sleep(for: .milliseconds(Int.random(in: 0...4)))
            }
            world.push("end", ["pi-1/a": 77, "pi-2/a": 77, "pi-3/a": 77, "pi-4/a": 77, "pi-5/a": 77])
            await controller.announce(commit: "end", byWebhook: true)
            #expect(await eventually { world.state.withLock { state in hosts.allSatisfy { state.settings[$0]?["a"] == 77 } } })
            #expect(await eventually { await controller.status().targets.allSatisfy { $0.inSyncAt == "end" } })
            #expect(world.state.withLock { $0.collisions } == 0)
        }
    }
}
