import { engine } from "../../torture/engines/consul.ts"
import { torture } from "../tortures.ts"

torture(engine)
