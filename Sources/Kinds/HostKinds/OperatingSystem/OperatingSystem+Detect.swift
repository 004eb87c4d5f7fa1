import ResourceModel
import Values

extension OperatingSystem {
    static func detect(_ desired: [DesiredResource], _ facts: TargetFacts) -> [ResourceDrift] {
        let facts = HostFacts(facts)
        return desired.map { compare($0, facts) }.sorted { $0.address < $1.address }
    }

    private static func compare(_ resource: DesiredResource, _ facts: HostFacts) -> ResourceDrift {
        let requirements = Requirements(resource.fields)
        var comparison = Comparison()
        comparison.check(requirements, facts)
        var drift = ResourceDrift(
            address: resource.address,
            kind: resource.kind,
            handler: resource.handler,
            standing: .inSync,
            differences: comparison.differences,
            fingerprint: comparison.found,
            dependsOn: resource.dependsOn,
            origins: resource.origins
        )
        if !comparison.unreadable.isEmpty {
            drift.standing = HostFacts.Unreadable.joined(comparison.unreadable).standing
        } else if !comparison.needs.isEmpty {
            drift.standing = .problem(.blocked, comparison.needs.joined(separator: "; "))
        }
        return drift
    }

    /// Collects what is different, what it takes, and what can't be told.
    private struct Comparison {
        var differences: [FieldDifference] = []
        var needs: [String] = []
        var unreadable: [HostFacts.Unreadable] = []
        /// The facts that were looked at.
        var found: Value = [:]

        mutating func check(_ wanted: Requirements, _ facts: HostFacts) {
            let kernel = ((try? facts.output(of: "kernel")) ?? "").trimmed
            if wanted.distribution != nil || wanted.version != nil {
                do throws(HostFacts.Unreadable) {
                    try check(try release(in: facts), wanted, kernel: kernel)
                } catch {
                    unreadable.append(error)
                }
            }
            let its = kernel.isEmpty ? "the kernel" : "its kernel (\(kernel))"
            if let bits = wanted.addressBits {
                do throws(HostFacts.Unreadable) {
                    let observed = try addressBits(in: facts)
                    found["addressBits"] = .int(observed)
                    let isMet =
                        switch bits {
                        case .exactly(let number): observed == number
                        case .atLeast(let number): observed >= number
                        }
                    if !isMet {
                        let need = words(bits, more: "or more") { "\($0)" }
                        differences.append(FieldDifference(path: "addressBits", observed: .int(observed), desired: .string(need)))
                        needs.append("needs \(need) address bits; \(its) has \(observed)")
                    }
                } catch {
                    unreadable.append(error)
                }
            }
            if let size = wanted.pageSize {
                do throws(HostFacts.Unreadable) {
                    let observed = try pageSize(in: facts)
                    found["pageSize"] = .int(observed)
                    if observed != size {
                        differences.append(FieldDifference(path: "pageSize", observed: .int(observed), desired: .int(size)))
                        needs.append("needs pages of \(size) bytes; \(its) has \(observed)")
                    }
                } catch {
                    unreadable.append(error)
                }
            }
        }

        private mutating func check(_ release: Release, _ wanted: Requirements, kernel: String) throws(HostFacts.Unreadable) {
            found["distribution"] = .string(release.id)
            found["version"] = release.version.map(Value.string) ?? .null
            let before = differences.count
            if let distribution = wanted.distribution, distribution != release.id {
                differences.append(FieldDifference(path: "distribution", observed: .string(release.id), desired: .string(distribution)))
            }
            // Versions of different distributions have nothing to do with each other, but both are what the spec asks for.
            if let version = wanted.version, try !isMet(version, by: release) {
                differences.append(
                    FieldDifference(path: "version", observed: release.version.map(Value.string), desired: .string(words(version) { $0 }))
                )
            }
            if differences.count == before { return }
            let need = [wanted.distribution ?? "version", wanted.version.map { words($0) { $0 } }].compactMap(\.self).joined(separator: " ")
            // Its kernels are called 6.6.31+rpt-rpi-v8 and 6.6.31+rpt-rpi-2712.
            let isRaspberryPiOS = release.id == "debian" && kernel.contains("rpi")
            let remark = isRaspberryPiOS ? " with the kernel of Raspberry Pi OS, whose 64-bit version calls itself debian" : ""
            needs.append("needs \(need); this is \(release.description)\(remark)")
        }

        private func isMet(_ version: Requirement<String>, by release: Release) throws(HostFacts.Unreadable) -> Bool {
            guard let observed = release.version else { return false }
            switch version {
            case .exactly(let text): return observed == text
            case .atLeast(let text):
                guard let found = numbers(observed), let least = numbers(text) else {
                    throw .init("version '\(HostFacts.firstLine(observed))' of \(release.id) can't be compared with '\(text)'")
                }
                // 24 stands for 24.0.
                let length = max(found.count, least.count)
                let zeros = { (numbers: [Int]) in numbers + Array(repeating: 0, count: length - numbers.count) }
                return !zeros(found).lexicographicallyPrecedes(zeros(least))
            }
        }

        private func words<Wanted>(_ requirement: Requirement<Wanted>, more: String = "or later", _ text: (Wanted) -> String) -> String {
            switch requirement {
            case .exactly(let wanted): text(wanted)
            case .atLeast(let wanted): "\(text(wanted)) \(more)"
            }
        }
    }
}
