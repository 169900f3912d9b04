//! The machine keeps its own promises: order by seed, and what a cut may take.

use stria_env::{Disk, Durability, Env};

use super::{SimBuf, SimDisk, SimEnv, World};

fn filled(byte: u8) -> SimBuf {
    let mut buf = SimBuf::new(4096);
    buf.fill(byte);
    buf
}

#[test]
fn a_flushed_write_survives_and_an_unflushed_one_may_not() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..50 {
        let world = World::new(seed);
        let disk = SimDisk::new(world.clone(), 1, 1 << 20);
        let writer = disk.clone();
        world
            .run(async move {
                writer.grow(1 << 20).await.expect("fits");
                writer.write(0, filled(1), Durability::Cached).await.0.expect("no faults");
                writer.flush().await.expect("no faults");
                writer.write(4096, filled(2), Durability::Durable).await.0.expect("no faults");
                writer.write(8192, filled(3), Durability::Cached).await.0.expect("no faults");
            })
            .expect("it ends");
        world.kill_all();
        disk.power_cut();
        assert_eq!((disk.peek(0, 1)[0], disk.peek(4096, 1)[0]), (1, 2));
        match disk.peek(8192, 4096).iter().filter(|byte| **byte == 3).count() {
            0 => lost += 1,
            4096 => kept += 1,
            _ => {}
        }
    }
    assert!(lost > 0 && kept > 0 && lost + kept < 50, "lost {lost}, kept {kept}");
}

#[test]
fn equal_seeds_give_equal_orders_and_others_differ() {
    let run = |seed| {
        let world = World::new(seed);
        let env = SimEnv::new(world.clone(), 0);
        for i in 0..20u64 {
            let env2 = env.clone();
            env.spawn(async move {
                env2.sleep(env2.random() % 1_000).await;
                env2.world().note(99, i);
            });
        }
        world.run_until(|| false);
        world.trace()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
